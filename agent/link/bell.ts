/** Wakes one waiting loop. A ring that nobody waits for is kept for the next one who does. */
export interface Bell {
  ring(): void
  /** Forgets a ring. */
  silence(): void
  /** True when it rang, false when the time is up or `signal` was aborted. */
  wait(timeoutMs: number, signal: AbortSignal): Promise<boolean>
}

export function createBell(): Bell {
  let rung = false
  let wake: (() => void) | undefined
  return {
    ring() {
      rung = true
      wake?.()
    },
    silence() {
      rung = false
    },
    async wait(timeoutMs, signal) {
      if (!rung && !signal.aborted)
        await new Promise<void>((resolve) => {
          const timer = timeoutMs === Number.POSITIVE_INFINITY ? undefined : setTimeout(done, timeoutMs)
          function done(): void {
            clearTimeout(timer)
            signal.removeEventListener('abort', done)
            wake = undefined
            resolve()
          }
          signal.addEventListener('abort', done, { once: true })
          wake = done
        })
      const result = rung
      rung = false
      return result
    },
  }
}
