import { normalQuantile } from './special-functions.ts'

/**
 * Whether a measured quality reaches a floor, judged by one-sided confidence bounds.
 *
 * - `holds`: the lower bound is at or above the floor, or the variant is indistinguishable from the baseline;
 * - `violated`: the upper bound is below the floor;
 * - `undecided`: the floor lies between the bounds, so the samples are too few.
 */
export interface FloorDecision {
  readonly decision: 'holds' | 'violated' | 'undecided'
  /** `identity`: not one sample tells the variant from the baseline, and so a floor of at most 1 holds. */
  readonly basis: 'interval' | 'identity'
  readonly estimate: number
  /** One-sided lower bound at the stated confidence. */
  readonly lower: number
  /** One-sided upper bound at the stated confidence. */
  readonly upper: number
  /**
   * Only when undecided: how many samples would decide if the rates observed so far stayed as they are. It is a
   * guide, not a promise: at that number the chance of a decision is about one half. Absent when the estimate is at
   * the floor, which no number of samples would decide.
   */
  readonly samplesNeeded?: number
}

/** What a decision is made of: `score` is the statistic of the test of the floor, positive above it. */
export interface FloorEvidence {
  readonly score: number
  readonly samples: number
  readonly estimate: number
  readonly lower: number
  readonly upper: number
}

/** Turns a score statistic that grows with the square root of the sample size into a decision. */
export function decideFloor(evidence: FloorEvidence, confidence: number): FloorDecision {
  const { score, samples, estimate, lower, upper } = evidence
  const limit = oneSidedLimit(confidence)
  const bounds = { basis: 'interval', estimate, lower, upper } as const
  if (score >= limit) return { decision: 'holds', ...bounds }
  if (score <= -limit) return { decision: 'violated', ...bounds }
  const samplesNeeded = Math.ceil(samples * (limit / score) ** 2)
  return Number.isSafeInteger(samplesNeeded)
    ? { decision: 'undecided', ...bounds, samplesNeeded }
    : { decision: 'undecided', ...bounds }
}

/** Normal quantile of a one-sided bound: 1.645 at 0.95. */
export function oneSidedLimit(confidence: number): number {
  if (!(confidence > 0.5 && confidence < 1)) throw new RangeError(`confidence ${confidence} is not within (0.5, 1)`)
  return normalQuantile(confidence)
}
