import * as z from 'zod'
import { Measurement } from './measurement.ts'
import { Digest } from './primitives.ts'
import { Recipe } from './recipe.ts'

/** Why a child process that built or measured a variant gave nothing. */
export const TRIAL_FAILURES = [
  'crashed', // non-zero exit or a signal that nobody here sent
  'out-of-memory',
  'timeout',
  'unsupported', // a pass or the runtime refused the model
  'pass-failed', // a pass gave up: training got out of hand, or numbers that are not finite
  'interrupted', // the agent itself was stopped
  'no-space',
] as const
export const TrialFailure = z.enum(TRIAL_FAILURES)
export type TrialFailure = z.infer<typeof TrialFailure>

/** Why a measured variant was not chosen; `detail` carries the figures in words. */
export const LOSS_REASONS = [
  'too-slow', // p90 bound above the budget
  'accuracy-below-floor',
  'accuracy-undecided', // too few samples; detail says how many are needed
  'too-much-memory',
  'too-large',
  'slower-than-baseline',
  'not-smallest', // feasible, but another one is better by the objective
  'throttled',
  'failed-on-evaluation', // chosen on the tuning split, and then gave nothing on the evaluation split
] as const
export const LossReason = z.object({ reason: z.enum(LOSS_REASONS), detail: z.string() })
export type LossReason = z.infer<typeof LossReason>

export const TrialOutcome = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('measured'),
    variant: z.object({ digest: Digest, sizeBytes: z.int() }),
    measurement: Measurement,
  }),
  z.object({ kind: z.literal('failed'), reason: TrialFailure, message: z.string() }),
])
export type TrialOutcome = z.infer<typeof TrialOutcome>

/** One recipe tried on one device. The trial with no passes is fp32, the baseline. */
export const Trial = z.object({
  id: z.int().nonnegative(),
  recipe: Recipe,
  recipeDigest: Digest,
  outcome: TrialOutcome,
  /** Empty for the winner, and until the choice is made. */
  losses: z.array(LossReason),
  durationMs: z.number(),
})
export type Trial = z.infer<typeof Trial>
