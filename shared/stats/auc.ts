import { oneSidedLimit } from './floor-decision.ts'
import type { Interval } from './proportion.ts'
import { bisect, normalQuantile } from './special-functions.ts'

/** Area under the ROC curve: the chance that a positive scores above a negative, ties counting half. */
export interface AucEstimate extends Interval {
  readonly auc: number
  /** DeLong's variance of `auc`. */
  readonly variance: number
  readonly positives: number
  readonly negatives: number
}

/**
 * AUC with DeLong's variance and a two-sided interval on the logit scale, which stays within [0, 1] (DeLong, DeLong
 * and Clarke-Pearson 1988, Biometrics 44, 837-845; Pepe 2003, section 5.2). Where the classes separate perfectly that
 * variance is zero, and the interval is Newcombe's method 5 instead (2006, Statistics in Medicine 25, 559-573).
 *
 * @param scores one finite score a sample, higher means more positive
 * @param labels 0 or 1 a sample; at least two of each
 */
export function aucInterval(scores: ArrayLike<number>, labels: ArrayLike<number>, confidence = 0.95): AucEstimate {
  const { auc, fromPositives, fromNegatives } = placements(scores, labels)
  const variance = placementVariance(fromPositives, fromPositives, fromNegatives, fromNegatives)
  const z = normalQuantile(0.5 + confidence / 2)
  const sizes = { positives: fromPositives.length, negatives: fromNegatives.length }
  const bounds =
    variance > 0 && auc > 0 && auc < 1
      ? logitBounds(auc, Math.sqrt(variance), z)
      : exponentialBounds(auc, z, sizes.positives, sizes.negatives)
  return { auc, variance, ...sizes, ...bounds }
}

/**
 * AUC(variant) - AUC(baseline) on the same samples with one-sided bounds, each at `confidence`, from DeLong's
 * covariance of correlated curves.
 */
export function pairedAucDifference(
  variantScores: ArrayLike<number>,
  baselineScores: ArrayLike<number>,
  labels: ArrayLike<number>,
  confidence = 0.95,
): Interval & { readonly difference: number } {
  const variant = placements(variantScores, labels)
  const baseline = placements(baselineScores, labels)
  const covariance = (left: Placements, right: Placements) =>
    placementVariance(left.fromPositives, right.fromPositives, left.fromNegatives, right.fromNegatives)
  const variance = covariance(variant, variant) + covariance(baseline, baseline) - 2 * covariance(variant, baseline)
  const difference = variant.auc - baseline.auc
  const reach = oneSidedLimit(confidence) * Math.sqrt(Math.max(0, variance))
  return { difference, lower: difference - reach, upper: difference + reach }
}

/** For every positive the share of negatives below it, and for every negative the share of positives above it. */
interface Placements {
  readonly auc: number
  readonly fromPositives: Float64Array
  readonly fromNegatives: Float64Array
}

/** By mid-ranks, so in n log n time (Sun and Xu 2014, IEEE Signal Processing Letters 21, 1389-1393). */
function placements(scores: ArrayLike<number>, labels: ArrayLike<number>): Placements {
  if (scores.length !== labels.length) {
    throw new RangeError(`${scores.length} scores do not pair with ${labels.length} labels`)
  }
  const positives: number[] = []
  const negatives: number[] = []
  for (let index = 0; index < labels.length; index += 1) {
    const score = scores[index] ?? Number.NaN
    if (!Number.isFinite(score)) throw new RangeError(`the score of sample ${index} is not finite`)
    const label = labels[index]
    if (label !== 0 && label !== 1) throw new RangeError(`label ${String(label)} of sample ${index} is not 0 or 1`)
    ;(label === 1 ? positives : negatives).push(score)
  }
  if (positives.length < 2 || negatives.length < 2) {
    throw new RangeError(
      `AUC needs at least two samples of each class: ${positives.length} positive, ${negatives.length} negative`,
    )
  }
  const overall = midRanks([...positives, ...negatives])
  const amongPositives = midRanks(positives)
  const amongNegatives = midRanks(negatives)
  const fromPositives = amongPositives.map((rank, i) => ((overall[i] ?? 0) - rank) / negatives.length)
  const fromNegatives = amongNegatives.map(
    (rank, i) => 1 - ((overall[positives.length + i] ?? 0) - rank) / positives.length,
  )
  return { auc: mean(fromPositives), fromPositives, fromNegatives }
}

function midRanks(values: readonly number[]): Float64Array {
  const order = Uint32Array.from(values.keys()).sort((left, right) => (values[left] ?? 0) - (values[right] ?? 0))
  const ranks = new Float64Array(values.length)
  for (let start = 0; start < order.length; ) {
    let end = start
    while (end < order.length && values[order[end] ?? 0] === values[order[start] ?? 0]) end += 1
    for (const position of order.subarray(start, end)) ranks[position] = (start + 1 + end) / 2
    start = end
  }
  return ranks
}

function placementVariance(a: Float64Array, b: Float64Array, c: Float64Array, d: Float64Array): number {
  return sampleCovariance(a, b) / a.length + sampleCovariance(c, d) / c.length
}

function sampleCovariance(left: Float64Array, right: Float64Array): number {
  const [leftMean, rightMean] = [mean(left), mean(right)]
  let sum = 0
  for (const [index, value] of left.entries()) sum += (value - leftMean) * ((right[index] ?? 0) - rightMean)
  return sum / (left.length - 1)
}

function mean(values: Float64Array): number {
  let sum = 0
  for (const value of values) sum += value
  return sum / values.length
}

function logitBounds(auc: number, standardError: number, z: number): Interval {
  const logit = Math.log(auc / (1 - auc))
  const half = (z * standardError) / (auc * (1 - auc))
  return { lower: 1 / (1 + Math.exp(half - logit)), upper: 1 / (1 + Math.exp(-logit - half)) }
}

/** Newcombe's method 5: |auc - theta| = z * sd(theta), with the variance of Hanley and McNeil's exponential model. */
function exponentialBounds(auc: number, z: number, positives: number, negatives: number): Interval {
  const balanced = (positives + negatives) / 2 - 1
  const distance = (theta: number): number => {
    const spread = 1 + balanced * ((1 - theta) / (2 - theta) + theta / (1 + theta))
    const deviation = Math.sqrt((theta * (1 - theta) * spread) / (positives * negatives))
    return Math.abs(auc - theta) - z * deviation
  }
  return {
    lower: auc === 0 ? 0 : bisect(distance, 0, auc),
    upper: auc === 1 ? 1 : bisect((theta) => -distance(theta), auc, 1),
  }
}
