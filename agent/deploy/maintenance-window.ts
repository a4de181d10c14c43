import cron from 'node-cron'

export interface MaintenanceWindow {
  /** Five-field cron expression, local time: when the window opens. */
  readonly cron: string
  readonly durationMin: number
}

const MINUTE_MS = 60_000

/** Whether the window is open at `atMs`: it opened at one of the last `durationMin` minutes. No window is always open. */
export function isWindowOpen(window: MaintenanceWindow | null, atMs: number): boolean {
  if (window === null) return true
  const task = cron.createTask(window.cron, () => undefined)
  const thisMinute = Math.floor(atMs / MINUTE_MS) * MINUTE_MS
  try {
    for (let minute = 0; minute < window.durationMin; minute += 1) {
      if (task.match(new Date(thisMinute - minute * MINUTE_MS))) return true
    }
    return false
  } finally {
    void task.destroy()
  }
}
