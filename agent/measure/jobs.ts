import {
  Accuracy,
  Digest,
  EncodedHistogram,
  LatencyMs,
  LatencyRatio,
  LayerSensitivity,
  PairedCounts,
  PairedDifference,
  PassReport,
  Recipe,
  RuntimeSettings,
  SPLITS,
  SplitSpec,
  Task,
  TensorSpec,
} from '@edgefit/shared/model'
import * as z from 'zod'

/** The samples a job works on: a dataset directory, how it is divided, and which part is meant. */
const Samples = z.strictObject({ datasetDir: z.string(), split: SplitSpec, which: z.enum(SPLITS) })

/** A model file and how to load it. */
const Loadable = z.strictObject({ path: z.string(), runtime: RuntimeSettings })
export type Loadable = z.infer<typeof Loadable>

/** How long to measure. At least 64 queries: with fewer there is no bound on the 90th percentile. */
export const Effort = z.strictObject({
  minDurationMs: z.number().nonnegative(),
  minQueries: z.int().min(64),
  /** Stops a fast model; at least `minQueries`. */
  maxQueries: z.int().min(64),
  /** Stops a slow model, but never before `minQueries`; the job's time limit does that. */
  maxDurationMs: z.number().positive(),
})
export type Effort = z.infer<typeof Effort>

/** What a child process can be asked to do. One job a process: its memory and its crashes are its own. */
export const Job = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('profile-bench'), threads: z.int().positive() }),
  z.strictObject({ kind: z.literal('inspect'), modelPath: z.string(), samples: Samples.nullable() }),
  z.strictObject({
    kind: z.literal('build'),
    sourcePath: z.string(),
    /** The model that the recipe takes in the source's place, where it takes one. */
    studentPath: z.string().optional(),
    /** Where the answers of teachers are kept, of all builds; absent: beside `outPath`. */
    teacherDir: z.string().optional(),
    datasetDir: z.string(),
    split: SplitSpec,
    recipe: Recipe,
    /** What outputs mean. Passes that train judge by it, and are refused without. */
    task: Task.optional(),
    /** Written whole or not at all. */
    outPath: z.string(),
    /** Compare the model with the source after every pass: on so many tuning samples, timed for so long. */
    compare: z.strictObject({ samples: z.int().positive(), effort: Effort }).optional(),
    calibrationThreads: z.int().positive(),
    /** Times of operators on this box, for passes that ask for them; without it those fail. */
    latencyTable: z.strictObject({ folder: z.string(), hardwareClass: z.string() }).optional(),
  }),
  z.strictObject({
    kind: z.literal('tune-runtime'),
    modelPath: z.string(),
    samples: Samples,
    candidates: z.array(RuntimeSettings).min(1),
    effort: Effort,
  }),
  z.strictObject({
    kind: z.literal('time-operators'),
    /** Lengths fixed. */
    modelPaths: z.array(z.string()).min(1),
    tableFolder: z.string(),
    /** Whether to time the models whole too, to see how good the predictions are. */
    compare: z.boolean(),
    hardwareClass: z.string(),
    runtime: RuntimeSettings,
  }),
  z.strictObject({ kind: z.literal('measure-solo'), variant: Loadable, samples: Samples, effort: Effort }),
  z.strictObject({
    kind: z.literal('measure-against'),
    variant: Loadable,
    baseline: Loadable,
    samples: Samples,
    effort: Effort,
  }),
  z.strictObject({
    kind: z.literal('measure-accuracy'),
    variant: Loadable,
    /** fp32; null when `variant` is fp32 itself. */
    baseline: Loadable.nullable(),
    samples: Samples,
    task: Task,
    maxSamples: z.int().positive().nullable(),
    /** What fp32 said of these samples: read where it fits, written where not. */
    referencePath: z.string(),
  }),
  z.strictObject({
    kind: z.literal('rank-layers'),
    sourcePath: z.string(),
    datasetDir: z.string(),
    split: SplitSpec,
    /** With a pass that quantizes layer by layer: the last of these is looked at, what comes after it is not applied. */
    recipe: Recipe,
    task: Task,
    /** Of the tuning split, to judge the noise of each layer by; all of them where there are fewer. */
    samples: z.int().positive(),
    /** How long to time each layer. */
    effort: z.strictObject({ minDurationMs: z.number().nonnegative(), maxDurationMs: z.number().positive() }),
    /** Once the job has taken this long, no further layer is timed: those that matter least are left. Absent: all are. */
    maxDurationMs: z.number().nonnegative().optional(),
    calibrationThreads: z.int().positive(),
  }),
])
export type Job = z.infer<typeof Job>
export type JobKind = Job['kind']
export type JobOf<Kind extends JobKind> = Extract<Job, { readonly kind: Kind }>

/** What each job gives back. Validated by the parent: a child that crashed half-way may have sent anything. */
export const JOB_RESULTS = {
  'profile-bench': z.object({ fp32Gflops: z.number(), int8Gops: z.number(), memoryGBps: z.number() }),
  inspect: z.object({ inputs: z.array(TensorSpec), outputs: z.array(TensorSpec), runtimeVersion: z.string() }),
  build: z.object({
    digest: Digest,
    sizeBytes: z.int(),
    resolvedRecipe: Recipe,
    resolvedRecipeDigest: Digest,
    passes: z.array(PassReport),
  }),
  'tune-runtime': z.object({
    /** In the order of the candidates. */
    candidates: z.array(z.object({ runtime: RuntimeSettings, p50Ms: z.number(), p90Ms: z.number(), count: z.int() })),
  }),
  'time-operators': z.object({
    /** In the order of the paths. */
    models: z.array(
      z.object({
        ms: z.number(),
        operatorCount: z.int(),
        /** Alike ones together; what takes longest first. */
        operators: z.array(z.object({ key: z.string(), count: z.int(), ms: z.number() })),
        /** Operators that were not in the table before. */
        timedCount: z.int(),
        /** Without a time, which `ms` is therefore too low by. */
        missing: z.array(z.object({ key: z.string(), reason: z.string() })),
        /** Measured where asked for. `cpuMs`: of all threads; less than `ms` on one thread where others took turns. */
        whole: z.object({ ms: z.number(), cpuMs: z.number() }).nullable(),
      }),
    ),
  }),
  'measure-solo': z.object({
    latencyMs: LatencyMs,
    noise: z.number(),
    histogram: EncodedHistogram,
    throttled: z.boolean(),
    temperatureC: z.object({ before: z.number().nullable(), after: z.number().nullable() }),
    loadMs: z.number(),
    sizeBytes: z.int(),
    runtimeVersion: z.string(),
  }),
  'measure-against': z.object({ latencyRatio: LatencyRatio }),
  'measure-accuracy': z.object({
    accuracy: Accuracy,
    paired: PairedCounts.nullable(),
    difference: PairedDifference.nullable(),
    sqnrDb: z.number().nullable(),
  }),
  'rank-layers': z.object({ layers: z.array(LayerSensitivity) }),
} as const
export type JobValue<Kind extends JobKind> = z.infer<(typeof JOB_RESULTS)[Kind]>

/** `waiting`: another process on this host is measuring. `fraction` is of the stage, null where unknown. */
export const JobProgress = z.object({
  stage: z.enum(['waiting', 'loading', 'building', 'verifying', 'warming-up', 'measuring', 'evaluating']),
  fraction: z.number().min(0).max(1).nullable(),
  /** For people: where a stage that takes long stands. */
  detail: z.string().optional(),
})
export type JobProgress = z.infer<typeof JobProgress>
