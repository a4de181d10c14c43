/** Gaps this short cost nothing: the broker is asked again within seconds, and devices resend what was lost. */
const BRIEF_GAP_MS = 60_000

/** Keeps track of whether devices can be heard. */
export interface Listening {
  onConnection(connected: boolean): void
  /**
   * Since when without a gap worth counting; undefined while the broker is out of reach. Call it every few seconds:
   * where it was not called for longer, or the clock went back, the host slept or its clock was set, and what was
   * known of time is worth nothing.
   */
  sinceMs(): number | undefined
}

export function createListening(now: () => number): Listening {
  let sinceMs: number | undefined
  let lostAtMs: number | undefined
  let askedAtMs: number | undefined
  return {
    onConnection(connected) {
      if (!connected) {
        lostAtMs ??= now()
        return
      }
      if (sinceMs === undefined || (lostAtMs !== undefined && now() - lostAtMs > BRIEF_GAP_MS)) sinceMs = now()
      lostAtMs = undefined
    },
    sinceMs() {
      const nowMs = now()
      const passedMs = nowMs - (askedAtMs ?? nowMs)
      if (sinceMs !== undefined && (passedMs < 0 || passedMs > BRIEF_GAP_MS)) sinceMs = nowMs
      askedAtMs = nowMs
      return lostAtMs === undefined ? sinceMs : undefined
    },
  }
}
