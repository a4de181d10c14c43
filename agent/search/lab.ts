import type {
  Digest,
  LayerSensitivity,
  Measurement,
  PassReport,
  Recipe,
  RuntimeSettings,
  SPLITS,
  TensorSpec,
  TrialFailure,
} from '@edgefit/shared/model'

/** A step that ran in a child process and gave nothing. */
export interface StepFailed {
  readonly kind: 'failed'
  readonly reason: TrialFailure
  readonly message: string
}

interface Inspected {
  readonly kind: 'done'
  readonly inputs: readonly TensorSpec[]
  readonly outputs: readonly TensorSpec[]
  readonly runtimeVersion: string
}

export interface RuntimeTiming {
  readonly runtime: RuntimeSettings
  readonly p90Ms: number
}

export interface Built {
  readonly kind: 'done'
  readonly path: string
  readonly digest: Digest
  readonly sizeBytes: number
  /** The recipe with everything that calibration found embedded: gives the same bytes again, anywhere. */
  readonly resolved: Recipe
  readonly passes: readonly PassReport[]
}

export type Measured = { readonly kind: 'measured'; readonly measurement: Measurement } | StepFailed

export interface ModelUnderTest {
  readonly path: string
  readonly runtime: RuntimeSettings
}

/**
 * Where a study does its work: one (source model, dataset, split, task) on this box.
 *
 * Every call runs in a child process of its own, one at a time on the whole host, and resolves to a failure with a
 * reason where that child crashed, ran out of memory or time. It rejects only when `signal` is aborted.
 */
export interface Lab {
  /** Milliseconds spent so far waiting for other agents of this host to finish their measurements. */
  waitedMs(): number
  inspect(path: string, signal: AbortSignal): Promise<Inspected | StepFailed>
  /** Times the settings against each other on real samples. Settings that failed are left out. */
  tuneRuntime(
    path: string,
    candidates: readonly RuntimeSettings[],
    signal: AbortSignal,
  ): Promise<{ readonly kind: 'done'; readonly timings: readonly RuntimeTiming[] } | StepFailed>
  build(recipe: Recipe, signal: AbortSignal): Promise<Built | StepFailed>
  /**
   * The layers of a recipe that quantizes layer by layer, those first that are best left in float. After `maxDurationMs`
   * no further layer is timed; undefined: all that matter are.
   */
  rankLayers(
    recipe: Recipe,
    maxDurationMs: number | undefined,
    signal: AbortSignal,
  ): Promise<{ readonly kind: 'done'; readonly layers: readonly LayerSensitivity[] } | StepFailed>
  measure(
    variant: ModelUnderTest,
    baseline: ModelUnderTest | null,
    split: (typeof SPLITS)[number],
    signal: AbortSignal,
  ): Promise<Measured>
}
