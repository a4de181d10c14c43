import type { LossWatchState } from './divergence.ts'

/** Where a run stands after `update` updates: from here it goes on to the same end, bit for bit on the same box. */
export interface TrainingState {
  readonly update: number
  /** Weights and what the optimizer keeps, by carried name. */
  readonly carried: ReadonlyMap<string, Float32Array>
  readonly best: BestWeights
  /** Times by which the rate was halved because training had got out of hand. */
  readonly halvings: number
  readonly loss: LossWatchState
  readonly looksWithoutBetter: number
  readonly history: readonly TrainingLook[]
  /** Time spent so far, in all runs. */
  readonly elapsedMs: number
}

interface BestWeights {
  readonly update: number
  readonly score: number
  readonly weights: ReadonlyMap<string, Float32Array>
}

/** What the tuning split said. */
export interface TrainingLook {
  readonly update: number
  /** Mean of the last losses; null before the first. */
  readonly loss: number | null
  readonly score: number
}
