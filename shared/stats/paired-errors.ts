import { decideFloor, type FloorDecision, oneSidedLimit } from './floor-decision.ts'
import type { Interval } from './proportion.ts'
import { quantile, sortedCopy } from './quantile.ts'
import type { Random } from './random.ts'

const DEFAULT_RESAMPLES = 2000

export interface BootstrapOptions {
  /** Of the two-sided interval; default 0.95. */
  readonly confidence?: number
  /** Default 2000. */
  readonly resamples?: number
}

export interface BootstrapEstimate extends Interval {
  readonly estimate: number
  /** Standard deviation of the statistic over the resamples. */
  readonly standardError: number
}

/**
 * Percentile bootstrap (Efron and Tibshirani 1993, chapter 13) of a statistic of two means over the same samples: a
 * sample is drawn with both of its values, so what the two have in common cancels.
 *
 * Mean absolute errors give MAE ratios, squared errors RMSE ratios by a square root in `statistic`.
 *
 * @param left one value a sample
 * @param right one value a sample, in the same order
 */
export function pairedBootstrap(
  left: ArrayLike<number>,
  right: ArrayLike<number>,
  statistic: (leftMean: number, rightMean: number) => number,
  random: Random,
  { confidence = 0.95, resamples = DEFAULT_RESAMPLES }: BootstrapOptions = {},
): BootstrapEstimate {
  const count = left.length
  if (count !== right.length) throw new RangeError(`${count} values do not pair with ${right.length}`)
  if (count < 2) throw new RangeError(`${count} pairs: a bootstrap needs at least 2`)
  const statisticOf = (pick: (step: number) => number): number => {
    let leftSum = 0
    let rightSum = 0
    for (let step = 0; step < count; step += 1) {
      const index = pick(step)
      leftSum += left[index] ?? Number.NaN
      rightSum += right[index] ?? Number.NaN
    }
    return statistic(leftSum / count, rightSum / count)
  }
  const drawn = new Float64Array(resamples)
  for (let resample = 0; resample < resamples; resample += 1) {
    drawn[resample] = statisticOf(() => Math.floor(random() * count))
  }
  const sorted = sortedCopy(drawn)
  return {
    estimate: statisticOf((step) => step),
    standardError: standardDeviation(drawn),
    lower: quantile(sorted, (1 - confidence) / 2),
    upper: quantile(sorted, (1 + confidence) / 2),
  }
}

/**
 * Is the variant's error at most the baseline's divided by `value`, judged on the same samples? At 0.99 the mean error
 * may grow by 1 %.
 *
 * `estimate` and the one-sided bounds are of mean error(baseline) / mean error(variant), so that, as with accuracy,
 * higher is better and the floor is `value`. By paired bootstrap of its logarithm. Equal errors on every sample hold
 * every floor of at most 1; two models without any error do as well.
 *
 * @param variantErrors one non-negative error a sample (absolute or squared)
 * @param baselineErrors in the same order
 */
export function pairedErrorFloor(
  variantErrors: ArrayLike<number>,
  baselineErrors: ArrayLike<number>,
  value: number,
  random: Random,
  confidence = 0.95,
): FloorDecision {
  if (!(value > 0 && Number.isFinite(value))) throw new RangeError(`floor ${value} is not a positive number`)
  if (value <= 1 && sameValues(variantErrors, baselineErrors)) {
    return { decision: 'holds', basis: 'identity', estimate: 1, lower: 1, upper: 1 }
  }
  const limit = oneSidedLimit(confidence)
  const logRatio = (variant: number, baseline: number) => Math.log(smallestAtLeast(baseline) / smallestAtLeast(variant))
  const bootstrap = pairedBootstrap(variantErrors, baselineErrors, logRatio, random, { confidence: 2 * confidence - 1 })
  const floor = Math.log(value)
  // The score that decides as the percentile bounds do: distance from the floor to the estimate, in units of the
  // distance from the bound on that side to the estimate.
  const above = bootstrap.estimate >= floor
  const reach = above ? bootstrap.estimate - bootstrap.lower : bootstrap.upper - bootstrap.estimate
  const distance = bootstrap.estimate - floor
  const score = distance === 0 ? 0 : (limit * distance) / Math.max(reach, 0)
  return decideFloor(
    {
      score,
      samples: variantErrors.length,
      estimate: Math.exp(bootstrap.estimate),
      lower: Math.exp(bootstrap.lower),
      upper: Math.exp(bootstrap.upper),
    },
    confidence,
  )
}

/** Keeps the ratio of two errors finite when one of them is zero. */
function smallestAtLeast(error: number): number {
  return Math.max(error, Number.MIN_VALUE * 2 ** 52)
}

function sameValues(left: ArrayLike<number>, right: ArrayLike<number>): boolean {
  if (left.length !== right.length) return false
  for (let index = 0; index < left.length; index += 1) if (left[index] !== right[index]) return false
  return true
}

function standardDeviation(values: Float64Array): number {
  let sum = 0
  for (const value of values) sum += value
  const mean = sum / values.length
  let squares = 0
  for (const value of values) squares += (value - mean) ** 2
  return Math.sqrt(squares / (values.length - 1))
}
