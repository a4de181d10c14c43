import type { TrialFailure } from '@edgefit/shared/model'
import type { JobKind, JobOf, JobProgress, JobValue } from './jobs.ts'

/** `failed` is an expected answer: this recipe on this box gives nothing, and `message` says why. */
export type JobResult<Kind extends JobKind> =
  | { readonly kind: 'done'; readonly value: JobValue<Kind>; readonly peakRssBytes: number }
  | JobFailure

export interface JobFailure {
  readonly kind: 'failed'
  readonly reason: TrialFailure
  readonly message: string
}

export interface RunOptions {
  /** Counts from the moment the child holds the host's measuring lock; for a `build`, from when it last came forward. */
  readonly timeoutMs: number
  readonly onProgress?: (progress: JobProgress) => void
}

/**
 * Runs one job in a process of its own.
 *
 * - At most one job at a time on a host: whoever waits reports the stage `waiting`.
 * - When the promise settles the child is gone. When this process dies, so does the child.
 * - Resolves to `failed` for all that can go wrong with a model or a recipe, and for an abort (`interrupted`).
 * - Rejects with an EdgefitError for what would fail for every recipe: DATASET_INVALID, DATASET_MISMATCH,
 *   RECIPE_INVALID, CONFIG_INVALID, NOT_FOUND, and INTERNAL for a broken worker.
 */
export interface JobRunner {
  run<Kind extends JobKind>(job: JobOf<Kind>, options: RunOptions, signal: AbortSignal): Promise<JobResult<Kind>>
}
