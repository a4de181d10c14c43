import type { Digest, Measurement, Objective, PassReport, Recipe, RuntimeSettings, Trial } from '@edgefit/shared/model'
import type { Candidate } from './choose.ts'
import type { Lab } from './lab.ts'
import type { PruningCandidate } from './pruning-candidates.ts'
import type { StudyStore } from './study-store.ts'

export interface StudyInput {
  readonly key: string
  readonly sourcePath: string
  readonly sourceDigest: Digest
  readonly sourceSizeBytes: number
  readonly objective: Objective
  readonly runtimeCandidates: readonly RuntimeSettings[]
  /** Recipes to try, best guess first, for the runtime settings that suit fp32 best. */
  readonly candidates: (runtime: RuntimeSettings) => readonly Recipe[]
  /** What to try where none of those holds and time is all that is missing, gentlest first. */
  readonly pruning?: (runtime: RuntimeSettings) => readonly PruningCandidate[]
  /** No new trial starts after this time, waiting for other agents of the host left out; one that runs is finished. */
  readonly budgetMs: number
}

export interface StudyPorts {
  readonly lab: Lab
  readonly store: StudyStore
  readonly monotonicNow: () => number
  /** Awaited: a trial is journalled before the next one starts. */
  readonly onEvent: (event: StudyEvent) => Promise<void> | void
}

export type StudyEvent =
  | { readonly kind: 'step'; readonly what: string }
  /** The choice is made; it is now measured on the evaluation split. */
  | { readonly kind: 'evaluating' }
  /** How many trials there may be at most; said again where a stage adds some. */
  | { readonly kind: 'planned'; readonly trials: number }
  | { readonly kind: 'trial'; readonly trial: Trial; readonly done: number; readonly best: Candidate | undefined }

export interface Winner {
  readonly trialId: number
  /** Resolved: gives the same bytes anywhere. */
  readonly recipe: Recipe
  /** As it was tried. */
  readonly unresolved: Recipe
  readonly digest: Digest
  readonly sizeBytes: number
  readonly path: string
  readonly measurement: Measurement
  /** What each pass did. */
  readonly passes: readonly PassReport[]
}

export interface StudyResult {
  readonly verdict: 'met' | 'infeasible'
  /** fp32 on the evaluation split. */
  readonly baseline: Measurement
  readonly winner: Winner | null
  readonly trials: readonly Trial[]
  readonly reasons: readonly string[]
  /** The objective failed only for want of samples. */
  readonly undecided: boolean
}
