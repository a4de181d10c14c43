import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { digestBytes } from '@edgefit/shared/artifact'
import {
  type Accuracy,
  type LatencyRatio,
  type PassReport,
  type Recipe,
  type RuntimeSettings,
  type Task,
  trainsWeights,
} from '@edgefit/shared/model'
import { createChildRunner } from '../../../agent/measure/child.ts'
import type { JobOf, JobProgress } from '../../../agent/measure/jobs.ts'
import { LOCK_PATH } from '../ptq-workshop.ts'
import type { TrainSubject } from './subjects.ts'

export const RUNTIME: RuntimeSettings = { intraOpThreads: 1, allowSpinning: false, memoryArena: true }
const TASK: Task = { kind: 'classification' }
/** Without a word from the child; waiting for others to have measured counts. */
const TIMEOUT_MS = 30 * 60_000
const EFFORT = { minDurationMs: 3000, minQueries: 64, maxQueries: 100_000, maxDurationMs: 20_000 }

/** A variant as the product makes it, and what it is worth on samples that neither it nor its model has seen. */
export interface Fitted {
  readonly path: string
  readonly resolved: Recipe
  readonly sizeBytes: number
  readonly passes: readonly PassReport[]
  readonly accuracy: { readonly fp32: Accuracy; readonly variant: Accuracy }
  /** Variant over fp32, by turns. */
  readonly latencyRatio: LatencyRatio
  /** Of the build. */
  readonly elapsedMs: number
  readonly peakRssBytes: number
}

export interface Fitter {
  /**
   * Builds in a child process, judges on the whole of the subject's other samples, and times by turns.
   *
   * @param more of the build job, where it can be asked for more
   * @throws Error with the message of a job that failed
   */
  fit(subject: TrainSubject, recipe: Recipe, more?: Partial<JobOf<'build'>>): Promise<Fitted>
  /** A file that is there already. */
  judge(subject: TrainSubject, path: string): Promise<Pick<Fitted, 'accuracy' | 'latencyRatio'>>
}

export interface FitterOptions {
  /** For variants, checkpoints and the latency table: asking for the same again goes on where the last run ended. */
  readonly folder: string
  readonly onProgress?: (progress: JobProgress) => void
  readonly signal: AbortSignal
}

/** `use` gets a folder that goes in the end, or `kept`, which stays. */
export async function inFolder(kept: string | undefined, use: (folder: string) => Promise<void>): Promise<void> {
  if (kept !== undefined) {
    await mkdir(kept, { recursive: true })
    return await use(kept)
  }
  const folder = await mkdtemp(join(tmpdir(), 'edgefit-bench-fitted-'))
  try {
    await use(folder)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

export async function createFitter({ folder, onProgress, signal }: FitterOptions): Promise<Fitter> {
  // What only computes does not keep others on the host from measuring.
  const building = await createChildRunner({ lockPath: join(folder, 'building.lock') })
  const measuring = await createChildRunner({ lockPath: LOCK_PATH })
  const options = { timeoutMs: TIMEOUT_MS, ...(onProgress && { onProgress }) }

  async function judge({ name, modelPath, judging }: TrainSubject, path: string) {
    const samples = { ...(await judging()), which: 'evaluation' as const }
    const variant = { path, runtime: RUNTIME }
    const baseline = { path: modelPath, runtime: RUNTIME }
    const accuracyOf = async (loadable: typeof variant) => {
      const measured = await building.run<'measure-accuracy'>(
        {
          kind: 'measure-accuracy',
          variant: loadable,
          baseline: null,
          samples,
          task: TASK,
          maxSamples: null,
          referencePath: join(folder, loadable === baseline ? `${fileName(name)}.fp32` : 'variant.answers'),
        },
        options,
        signal,
      )
      if (measured.kind === 'failed') throw new Error(`${name}: ${measured.message}`)
      return measured.value.accuracy
    }
    const accuracy = { fp32: await accuracyOf(baseline), variant: await accuracyOf(variant) }
    const measured = await measuring.run<'measure-against'>(
      { kind: 'measure-against', variant, baseline, samples, effort: EFFORT },
      options,
      signal,
    )
    if (measured.kind === 'failed') throw new Error(`${name}: ${measured.message}`)
    return { accuracy, latencyRatio: measured.value.latencyRatio }
  }

  return {
    judge,
    async fit(subject, recipe, more = {}) {
      const { datasetDir, split } = await subject.building()
      const digest = digestBytes(Buffer.from(JSON.stringify([recipe, more])))
      const outPath = join(folder, `${fileName(subject.name)}-${digest.slice(0, 12)}.onnx`)
      const startedMs = performance.now()
      const built = await (trainsWeights(recipe.passes) ? building : measuring).run<'build'>(
        {
          kind: 'build',
          sourcePath: subject.modelPath,
          datasetDir,
          split,
          recipe,
          task: TASK,
          outPath,
          calibrationThreads: 1,
          latencyTable: { folder: join(folder, 'latency'), hardwareClass: 'this box' },
          ...more,
        },
        options,
        signal,
      )
      if (built.kind === 'failed') throw new Error(`${subject.name}: ${built.message}`)
      const elapsedMs = performance.now() - startedMs
      const { sizeBytes, passes, resolvedRecipe: resolved } = built.value
      const path = more.outPath ?? outPath
      const judged = await judge(subject, path)
      return { path, resolved, sizeBytes, passes, elapsedMs, peakRssBytes: built.peakRssBytes, ...judged }
    },
  }
}

function fileName(subject: string): string {
  return subject.replaceAll(' ', '-')
}
