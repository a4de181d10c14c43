import { binomialCdf } from './binomial.ts'

/** `percentile` and `confidence` are both fractions within (0, 1): p90 is 0.9. */
export interface EarlyStoppingOptions {
  readonly percentile: number
  /** Default 0.99, as MLPerf has it. */
  readonly confidence?: number
}

/** A bound in the unit of the samples, or how many samples the percentile needs before there can be one. */
export type EarlyStoppingEstimate =
  | { readonly kind: 'bound'; readonly bound: number /** slowest samples set aside */; readonly discarded: number }
  | { readonly kind: 'too-few'; readonly minimumCount: number }

const DEFAULT_CONFIDENCE = 0.99

/**
 * Upper bound of a latency percentile that holds with the given confidence, from independent queries.
 *
 * MLPerf inference rules, appendix "Early stopping", single-stream with d = 0: for q queries find the largest t with
 * BinomCDF(t; q, 1 - percentile) <= 1 - confidence, set the t - 1 slowest aside and report the slowest that is left.
 *
 * @param sorted latencies in ascending order, not modified
 */
export function earlyStoppingEstimate(
  sorted: ArrayLike<number>,
  { percentile, confidence = DEFAULT_CONFIDENCE }: EarlyStoppingOptions,
): EarlyStoppingEstimate {
  const allowed = overLatencyAllowed(sorted.length, percentile, confidence)
  const bound = sorted[sorted.length - allowed]
  if (allowed < 1 || bound === undefined) {
    return { kind: 'too-few', minimumCount: minimumQueries(percentile, confidence) }
  }
  return { kind: 'bound', bound, discarded: allowed - 1 }
}

/** Smallest number of queries with which {@link earlyStoppingEstimate} gives a bound: 64 for p90 at 0.99. */
export function minimumQueries(percentile: number, confidence: number = DEFAULT_CONFIDENCE): number {
  checkFractions(percentile, confidence)
  let high = 2
  while (binomialCdf(1, high, 1 - percentile) > 1 - confidence) high *= 2
  let low = high / 2
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2)
    if (binomialCdf(1, middle, 1 - percentile) <= 1 - confidence) high = middle
    else low = middle
  }
  return high
}

/** The largest t >= 1 of the rule, or 0 when not even t = 1 satisfies it. */
function overLatencyAllowed(queries: number, percentile: number, confidence: number): number {
  checkFractions(percentile, confidence)
  let low = 0
  let high = queries
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2)
    if (binomialCdf(middle, queries, 1 - percentile) <= 1 - confidence) low = middle
    else high = middle
  }
  return low
}

function checkFractions(percentile: number, confidence: number): void {
  if (!(percentile > 0 && percentile < 1)) throw new RangeError(`percentile ${percentile} is not within (0, 1)`)
  if (!(confidence > 0 && confidence < 1)) throw new RangeError(`confidence ${confidence} is not within (0, 1)`)
}
