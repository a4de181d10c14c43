export interface Backoff {
  /** Longest delay before the second try. */
  readonly baseMs: number
  /** Longest delay of all. */
  readonly capMs: number
}

/**
 * Capped exponential back-off with full jitter: uniform in [0, min(cap, base · 2^attempt)). After a broker's restart
 * the whole fleet tries again at once; full jitter spreads it best ("Exponential Backoff And Jitter", AWS
 * Architecture Blog).
 *
 * @param attempt tries that have failed so far, the first being 0
 * @param random uniform in [0, 1)
 */
export function backoffDelayMs(attempt: number, { baseMs, capMs }: Backoff, random: () => number): number {
  return Math.floor(random() * Math.min(capMs, baseMs * 2 ** attempt))
}
