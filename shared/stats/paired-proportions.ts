import { EdgefitError } from '../errors.ts'
import { decideFloor, type FloorDecision, oneSidedLimit } from './floor-decision.ts'
import { bisect } from './special-functions.ts'

/** How two models did on the same samples. Counts of samples: who was right. */
export interface PairedCounts {
  readonly both: number
  readonly onlyVariant: number
  readonly onlyBaseline: number
  readonly neither: number
}

const SMALLEST_RATIO = 1e-12
const LARGEST_RATIO = 1e12

/** Counts the four outcomes; a true or non-zero entry means that the model was right on that sample. */
export function pairOutcomes(
  variant: ArrayLike<number | boolean>,
  baseline: ArrayLike<number | boolean>,
): PairedCounts {
  if (variant.length !== baseline.length) {
    throw new RangeError(
      `${variant.length} outcomes of the variant do not pair with ${baseline.length} of the baseline`,
    )
  }
  const counts = { both: 0, onlyVariant: 0, onlyBaseline: 0, neither: 0 }
  for (let index = 0; index < variant.length; index += 1) {
    if (variant[index]) counts[baseline[index] ? 'both' : 'onlyVariant'] += 1
    else counts[baseline[index] ? 'onlyBaseline' : 'neither'] += 1
  }
  return counts
}

/**
 * Is accuracy(variant) at least `value` times accuracy(baseline), judged on the same samples?
 *
 * Non-inferiority by the score test for the ratio of paired proportions (Nam and Blackwelder 2002, Statistics in
 * Medicine 21, 689-699; Tang, Tang and Chan 2003, Statistics in Medicine 22, 1217-1233), which carries Tango's test of
 * the difference (1998, Statistics in Medicine 17, 891-908) over to the ratio: p_variant - value * p_baseline over its
 * standard error at the maximum likelihood estimate under equality. `estimate`, `lower` and `upper` are of the ratio;
 * the bounds invert the same test, so they agree with the decision.
 *
 * A variant right and wrong on exactly the same samples holds every floor of at most 1 (`basis: 'identity'`), which
 * is how fp32 passes against itself. With few samples that rule is generous: without discordance the interval alone
 * proves a floor v only from 2.71 v / (1 - v) samples both got right (268 at 0.99), so read `lower` beside it.
 *
 * `samplesNeeded` is n (z / score)^2, since at unchanged shares the score grows with sqrt(n) exactly.
 *
 * @throws EdgefitError DATASET_MISMATCH when the baseline is right on no sample
 */
export function pairedRelativeFloor(counts: PairedCounts, value: number, confidence = 0.95): FloorDecision {
  if (!(value > 0 && Number.isFinite(value))) throw new RangeError(`floor ${value} is not a positive number`)
  const n = totalOf(counts)
  const variantRight = counts.both + counts.onlyVariant
  const baselineRight = counts.both + counts.onlyBaseline
  if (baselineRight === 0) {
    throw new EdgefitError(
      `the source model is right on none of ${n} samples, so a floor relative to it has no meaning: ` +
        `check the labels and the preprocessing of the dataset, or state an absolute floor`,
      { code: 'DATASET_MISMATCH', details: { samples: n } },
    )
  }
  const z = oneSidedLimit(confidence)
  const scoreAt = (logRatio: number) => ratioScore(counts, n, Math.exp(logRatio))
  const [smallest, largest] = [Math.log(SMALLEST_RATIO), Math.log(LARGEST_RATIO)]
  const estimate = variantRight / baselineRight
  const evidence = {
    score: ratioScore(counts, n, value),
    samples: n,
    estimate,
    lower: variantRight === 0 ? 0 : Math.exp(bisect((logRatio) => scoreAt(logRatio) - z, smallest, Math.log(estimate))),
    upper: Math.exp(bisect((logRatio) => scoreAt(logRatio) + z, Math.log(Math.max(estimate, SMALLEST_RATIO)), largest)),
  }
  if (counts.onlyVariant === 0 && counts.onlyBaseline === 0 && value <= 1) {
    const { lower, upper } = evidence
    return { decision: 'holds', basis: 'identity', estimate, lower, upper }
  }
  return decideFloor(evidence, confidence)
}

/**
 * Score statistic of H0: p_variant = ratio * p_baseline.
 *
 * Under H0 the likelihood leaves one free cell, y = P(only variant right): `neither` keeps its observed share, and
 * P(only baseline) = (1 - ratio) s + ratio y with s the share of the other three cells. Setting the derivative of the
 * log likelihood to zero gives the quadratic below; its larger root is the maximum. The variance of
 * p_variant - ratio * p_baseline under H0 is ratio * (P(only variant) + P(only baseline)) / n.
 */
function ratioScore({ both: a, onlyVariant: b, onlyBaseline: c }: PairedCounts, n: number, ratio: number): number {
  const share = (a + b + c) / n
  const quadratic = ratio * (1 + ratio) * n
  const linear = (1 - ratio * ratio) * (a + b) - ratio * ratio * (b + c)
  const constant = -b * ratio * (1 - ratio) * share
  const root = Math.sqrt(Math.max(0, linear * linear - 4 * quadratic * constant))
  // Two forms of the same root: each is free of cancellation on its side.
  const onlyVariant = linear > 0 ? (-2 * constant) / (root + linear) : (root - linear) / (2 * quadratic)
  const onlyBaseline = (1 - ratio) * share + ratio * onlyVariant
  return standardized(a + b - ratio * (a + c), n * ratio * Math.max(0, onlyVariant + onlyBaseline))
}

function standardized(value: number, variance: number): number {
  return value === 0 ? 0 : value / Math.sqrt(Math.max(0, variance))
}

function totalOf({ both, onlyVariant, onlyBaseline, neither }: PairedCounts): number {
  for (const count of [both, onlyVariant, onlyBaseline, neither]) {
    if (!(Number.isSafeInteger(count) && count >= 0)) throw new RangeError(`${count} is not a count of samples`)
  }
  const total = both + onlyVariant + onlyBaseline + neither
  if (total === 0) throw new RangeError('no samples: a floor cannot be judged')
  return total
}
