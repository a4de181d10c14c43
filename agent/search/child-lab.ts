import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { type Digest, type Recipe, recipeDigest, type SplitSpec, type Task } from '@edgefit/shared/model'
import type { Effort, JobProgress } from '../measure/jobs.ts'
import { measureVariant } from '../measure/measure.ts'
import type { JobRunner } from '../measure/runner.ts'
import type { Built, Lab } from './lab.ts'

export interface ChildLabOptions {
  readonly runner: JobRunner
  readonly sourcePath: string
  /** For recipes that take a student. */
  readonly studentPath?: string | undefined
  readonly datasetDir: string
  readonly split: SplitSpec
  readonly task: Task
  /** Variants by recipe digest, and what fp32 said of the samples. May be deleted at any time between studies. */
  readonly workDir: string
  readonly calibrationThreads: number
  readonly hardwareClass: string
  /** Where it is kept how long operators take on this box: longer than a study. Absent: in `workDir`. */
  readonly latencyDir?: string
  /** Where the answers of teachers are kept: longer than a study. Absent: beside the variant that they helped to make. */
  readonly teacherDir?: string
  /** Epoch milliseconds. */
  readonly now: () => number
  readonly monotonicNow: () => number
  readonly limits: LabLimits
  /** Compare the model with the source after every pass of every recipe that is built. */
  readonly comparePasses?: boolean
  /** Of the job that runs. */
  readonly onProgress?: (progress: JobProgress) => void
}

/** To see what each pass did: far less than it takes to judge a variant. */
export const PASS_COMPARISON = {
  samples: 16,
  effort: { minDurationMs: 300, minQueries: 64, maxQueries: 2000, maxDurationMs: 3000 },
}

export interface LabLimits {
  readonly stepTimeoutMs: number
  /** How long to measure each trial, and how long the winner and fp32 at the end. */
  readonly effort: { readonly tuning: Effort; readonly evaluation: Effort; readonly runtime: Effort }
  /** Samples of the tuning split to judge the noise of a layer by, and how long to time it. */
  readonly ranking: {
    readonly samples: number
    readonly effort: { readonly minDurationMs: number; readonly maxDurationMs: number }
  }
}

const MAX_QUERIES = 100_000

export const DEFAULT_LIMITS: LabLimits = {
  stepTimeoutMs: 30 * 60_000,
  effort: {
    tuning: { minDurationMs: 1500, minQueries: 100, maxQueries: MAX_QUERIES, maxDurationMs: 30_000 },
    evaluation: { minDurationMs: 5000, minQueries: 200, maxQueries: MAX_QUERIES, maxDurationMs: 60_000 },
    runtime: { minDurationMs: 500, minQueries: 64, maxQueries: MAX_QUERIES, maxDurationMs: 10_000 },
  },
  ranking: { samples: 64, effort: { minDurationMs: 400, maxDurationMs: 1500 } },
}

/** The {@link Lab} of a real box: every call is a job of `runner`. */
export async function createChildLab(options: ChildLabOptions): Promise<Lab> {
  const { runner, datasetDir, split, limits } = options
  const variantsDir = join(options.workDir, 'variants')
  await mkdir(variantsDir, { recursive: true })
  const waiting = waitingTime(options.monotonicNow)
  const run = {
    timeoutMs: limits.stepTimeoutMs,
    onProgress(progress: JobProgress) {
      waiting.onProgress(progress)
      options.onProgress?.(progress)
    },
  }
  const built = new Map<string, Built>()

  return {
    waitedMs: waiting.totalMs,

    async inspect(modelPath, signal) {
      const samples = { datasetDir, split, which: 'tuning' } as const
      const result = await runner.run<'inspect'>({ kind: 'inspect', modelPath, samples }, run, signal)
      signal.throwIfAborted()
      return result.kind === 'failed' ? result : { kind: 'done', ...result.value }
    },

    async tuneRuntime(modelPath, candidates, signal) {
      const samples = { datasetDir, split, which: 'tuning' as const }
      const effort = limits.effort.runtime
      const result = await runner.run<'tune-runtime'>(
        { kind: 'tune-runtime', modelPath, samples, candidates: [...candidates], effort },
        run,
        signal,
      )
      signal.throwIfAborted()
      return result.kind === 'failed' ? result : { kind: 'done', timings: result.value.candidates }
    },

    async build(recipe, signal) {
      const key = passesDigest(recipe)
      const known = built.get(key)
      if (known !== undefined) return { ...known, resolved: { ...known.resolved, runtime: recipe.runtime } }
      const outPath = join(variantsDir, `${key}.onnx`)
      const { sourcePath, studentPath, teacherDir, calibrationThreads, hardwareClass } = options
      const job = {
        kind: 'build',
        sourcePath,
        ...(studentPath !== undefined && { studentPath }),
        ...(teacherDir !== undefined && { teacherDir }),
        datasetDir,
        split,
        recipe,
        task: options.task,
        outPath,
        calibrationThreads,
        ...(options.comparePasses && { compare: PASS_COMPARISON }),
        latencyTable: { folder: options.latencyDir ?? join(options.workDir, 'latency'), hardwareClass },
      } as const
      const result = await runner.run<'build'>(job, run, signal)
      signal.throwIfAborted()
      if (result.kind === 'failed') return result
      const { digest, sizeBytes, resolvedRecipe: resolved } = result.value
      const value: Built = {
        kind: 'done',
        path: outPath,
        digest,
        sizeBytes,
        resolved,
        passes: result.value.passes,
      }
      built.set(key, value)
      // Its resolved form is the same file.
      built.set(passesDigest(resolved), value)
      return value
    },

    async rankLayers(recipe, maxDurationMs, signal) {
      const { sourcePath, task, calibrationThreads } = options
      const { samples, effort } = limits.ranking
      // Resolved where it was built here before: what is calibrated already is not calibrated again.
      const known = built.get(passesDigest(recipe))?.resolved ?? recipe
      const result = await runner.run<'rank-layers'>(
        {
          kind: 'rank-layers',
          sourcePath,
          datasetDir,
          split,
          recipe: { ...known, runtime: recipe.runtime },
          task,
          samples,
          effort,
          calibrationThreads,
          ...(maxDurationMs !== undefined && { maxDurationMs }),
        },
        run,
        signal,
      )
      signal.throwIfAborted()
      return result.kind === 'failed' ? result : { kind: 'done', layers: result.value.layers }
    },

    async measure(variant, baseline, which, signal) {
      const input = {
        variant,
        baseline,
        samples: { datasetDir, split, which },
        effort: limits.effort[which],
        task: options.task,
        maxSamples: null,
        referencePath: join(options.workDir, `fp32-${which}.ref`),
      }
      const result = await measureVariant(runner, input, { ...run, now: options.now }, signal)
      signal.throwIfAborted()
      return result
    },
  }
}

/** The same passes with other runtime settings are the same file. */
function passesDigest(recipe: Recipe): Digest {
  return recipeDigest({ ...recipe, runtime: { intraOpThreads: 1, allowSpinning: false, memoryArena: true } })
}

/** Adds up the times between a job's `waiting` and whatever it reports next. */
function waitingTime(monotonicNow: () => number) {
  let totalMs = 0
  let sinceMs: number | undefined
  return {
    totalMs: () => totalMs,
    onProgress({ stage }: JobProgress) {
      if (stage === 'waiting') sinceMs ??= monotonicNow()
      else if (sinceMs !== undefined) {
        totalMs += monotonicNow() - sinceMs
        sinceMs = undefined
      }
    },
  }
}
