/** Gaps this short cost nothing: the broker is asked again within seconds, and devices resend what was lost. */
const BRIEF_GAP_MS = 60_000

/** Keeps track of whether devices can be heard. */
export interface Listening {
  onConnection(connected: boolean): void
  /** Since when without a gap worth counting; undefined while the broker is out of reach. */
  sinceMs(): number | undefined
}

export function createListening(now: () => number): Listening {
  let sinceMs: number | undefined
  let lostAtMs: number | undefined
  return {
    onConnection(connected) {
      if (!connected) {
        lostAtMs ??= now()
        return
      }
      if (sinceMs === undefined || (lostAtMs !== undefined && now() - lostAtMs > BRIEF_GAP_MS)) sinceMs = now()
      lostAtMs = undefined
    },
    sinceMs: () => (lostAtMs === undefined ? sinceMs : undefined),
  }
}
