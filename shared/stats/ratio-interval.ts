import { binomialCdf } from './binomial.ts'
import { median, sortedCopy } from './quantile.ts'

export interface RatioInterval {
  /** Median over the pairs of candidate / baseline: 0.5 means twice as fast. */
  readonly ratio: number
  readonly low: number
  readonly high: number
  readonly pairs: number
}

/**
 * Speed ratio of two models measured in turns (A B A B ...), one pair a round.
 *
 * A pair shares the moment, so what the box was doing cancels in its ratio. The interval is the one of the sign test
 * (Conover 1999, section 3.2): the k-th smallest and k-th largest ratio, with the largest k for which
 * 2 * BinomCDF(k - 1; n, 1/2) <= 1 - confidence. It assumes nothing of the distribution, only that rounds are
 * independent. The median is taken of the logarithms, so swapping A and B gives the reciprocal.
 *
 * @param candidate latencies > 0, one a round, any unit
 * @param baseline same unit, same rounds
 * @returns undefined when the pairs are too few for the confidence: at 0.95 fewer than 6
 */
export function ratioInterval(
  candidate: ArrayLike<number>,
  baseline: ArrayLike<number>,
  confidence = 0.95,
): RatioInterval | undefined {
  const pairs = candidate.length
  if (pairs !== baseline.length) throw new RangeError(`${pairs} latencies do not pair with ${baseline.length}`)
  const logRatios = new Float64Array(pairs)
  for (let index = 0; index < pairs; index += 1) {
    const ratio = (candidate[index] ?? Number.NaN) / (baseline[index] ?? Number.NaN)
    if (!(ratio > 0 && Number.isFinite(ratio)))
      throw new RangeError(`round ${index} has a latency that is not positive`)
    logRatios[index] = Math.log(ratio)
  }
  const sorted = sortedCopy(logRatios)
  const outside = orderStatisticsOutside(pairs, (1 - confidence) / 2)
  const [low, high] = [sorted[outside - 1], sorted[pairs - outside]]
  if (low === undefined || high === undefined) return undefined
  return { ratio: Math.exp(median(sorted)), low: Math.exp(low), high: Math.exp(high), pairs }
}

/** Largest k with BinomCDF(k - 1; n, 1/2) <= tail; 0 when there is none. */
function orderStatisticsOutside(count: number, tail: number): number {
  let k = 0
  while (k < count / 2 && binomialCdf(k, count, 0.5) <= tail) k += 1
  return k
}
