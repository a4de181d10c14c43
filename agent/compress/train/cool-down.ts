import type { Training } from '@edgefit/shared/model'

const FIRST_WAIT_MS = 1000
const LONGEST_WAIT_MS = 30_000
/** So much below the limit it has to be before work goes on: else it would stop again at once. */
const HYSTERESIS_CELSIUS = 5
const LONGEST_PAUSE_MS = 30 * 60_000

/** How hot the box is, and how to wait. */
export interface Thermometer {
  /** Of the hottest sensor; null where none can be read. */
  readonly celsius: () => number | null
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>
}

export interface CoolerOptions {
  readonly pauseAboveCelsius: Training['pauseAboveCelsius']
  /** Absent: like a box without sensors. */
  readonly thermometer: Thermometer | undefined
  readonly monotonicNow: () => number
  /** Whether there is no sense in waiting any longer. */
  readonly exhausted: () => boolean
  readonly onWait: (celsius: number, waitedMs: number) => void
}

export interface Cooler {
  /**
   * Waits while the box is hotter than it may be, longer each time it looks again.
   *
   * @returns why the wait ended though the box does not cool down; undefined where it does, or others have ended it
   * @throws the signal's reason
   */
  cooledDown(signal: AbortSignal): Promise<string | undefined>
  /** All waits together. */
  waitedMs(): number
  /** It was to watch a temperature, and there was none. */
  lacksSensor(): boolean
}

export function createCooler({
  pauseAboveCelsius: limit,
  thermometer,
  monotonicNow,
  exhausted,
  onWait,
}: CoolerOptions): Cooler {
  let earlierMs = 0
  let sinceMs: number | undefined
  let lacksSensor = limit !== undefined && thermometer === undefined
  const waitedMs = (): number => earlierMs + (sinceMs === undefined ? 0 : monotonicNow() - sinceMs)

  async function cooledDown(signal: AbortSignal): Promise<string | undefined> {
    if (limit === undefined || thermometer === undefined) return undefined
    let celsius = thermometer.celsius()
    lacksSensor ||= celsius === null
    if (celsius === null || celsius <= limit) return undefined
    const startedMs = monotonicNow()
    sinceMs = startedMs
    try {
      for (let waitMs = FIRST_WAIT_MS; ; waitMs = Math.min(2 * waitMs, LONGEST_WAIT_MS)) {
        const pausedMs = monotonicNow() - startedMs
        if (pausedMs >= LONGEST_PAUSE_MS) {
          return `the box is still at ${celsius} °C after a pause of ${Math.round(pausedMs / 60_000)} min; "pauseAboveCelsius" is ${limit}`
        }
        onWait(celsius, pausedMs)
        await thermometer.sleep(waitMs, signal)
        celsius = thermometer.celsius()
        if (celsius === null || celsius <= limit - HYSTERESIS_CELSIUS) return undefined
        if (exhausted()) return undefined
      }
    } finally {
      earlierMs = waitedMs()
      sinceMs = undefined
    }
  }
  return { cooledDown, waitedMs, lacksSensor: () => lacksSensor }
}
