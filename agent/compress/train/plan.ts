import type { Schedule } from './schedule.ts'
import type { Hint, Loss } from './step/losses.ts'
import type { Optimizer } from './step/optimizers.ts'
import type { Penalty } from './step/penalties.ts'
import type { TrainableScope } from './trainable.ts'

/** All that decides what training makes of a model and its data. An update is one change of the weights. */
export interface TrainingPlan {
  readonly trainable: TrainableScope
  readonly loss: Loss
  readonly hints: readonly Hint[]
  readonly penalties: readonly Penalty[]
  readonly optimizer: Optimizer
  readonly learningRate: number
  readonly schedule: Schedule
  readonly updates: number
  /** Samples at a time. */
  readonly batch: number
  /** Batches an update. */
  readonly accumulation: number
  readonly maxGradientNorm?: number
  /** Order of the samples. */
  readonly seed: number
  /** Updates between two looks at the tuning split. */
  readonly evaluateEvery: number
  /** Looks without a better score after which training ends. */
  readonly patience: number
}
