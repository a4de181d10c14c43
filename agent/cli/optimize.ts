import { copyFile, mkdir, readFile, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { parseJsonWith } from '@edgefit/shared'
import { digestFile, writeFileAtomic } from '@edgefit/shared/artifact'
import {
  type Objective,
  type OptimizeReport,
  type PassReport,
  type Profile,
  Recipe,
  type Task,
  trainsWeights,
} from '@edgefit/shared/model'
import { prepareModelAndData } from '../deploy/prepare.ts'
import type { JobProgress } from '../measure/jobs.ts'
import type { JobRunner } from '../measure/runner.ts'
import { applyRecipe } from '../search/apply-recipe.ts'
import { type LabLimits, PASS_COMPARISON } from '../search/child-lab.ts'
import { type FitInput, fitModel } from '../search/fit.ts'
import { memoryStudyStore } from '../search/study-store.ts'
import type { StudyEvent, StudyResult } from '../search/study-types.ts'
import { planData } from './plan-data.ts'

export interface OptimizeOptions {
  readonly modelPath: string
  readonly npzPath: string
  readonly outDir: string
  /** Undefined: taken from the labels and the output, see `inferTask`. */
  readonly task: Task | undefined
  readonly seed: number
  readonly wanted:
    | { readonly kind: 'search'; readonly objective: Objective; readonly budgetS: number }
    | { readonly kind: 'recipe'; readonly recipePath: string }
}

export interface OptimizePorts {
  readonly runner: JobRunner
  readonly limits: LabLimits
  readonly profile: Profile
  /** Where it is kept how long operators take on this box. */
  readonly latencyDir: string
  readonly now: () => number
  readonly monotonicNow: () => number
  readonly onEvent: (event: StudyEvent) => void
  readonly onProgress: (progress: JobProgress) => void
}

/**
 * Fits a model to this box without a controller and writes {@link RESULT_FILES} and `report.json` into `outDir`. Where the
 * objective is infeasible there is a report and no variant.
 */
export async function optimize(
  options: OptimizeOptions,
  ports: OptimizePorts,
  signal: AbortSignal,
): Promise<OptimizeReport> {
  const { modelPath, npzPath, outDir, wanted } = options
  const workDir = join(outDir, '.edgefit-work')
  await mkdir(outDir, { recursive: true })
  await rm(workDir, { recursive: true, force: true })
  await mkdir(workDir, { recursive: true })
  try {
    const recipe = wanted.kind === 'recipe' ? await readRecipe(wanted.recipePath) : undefined
    const source = {
      path: modelPath,
      digest: await digestFile(modelPath, signal),
      sizeBytes: (await stat(modelPath)).size,
    }
    const dataset = { dir: join(workDir, 'dataset'), digest: await digestFile(npzPath, signal) }
    const { split, count, task } = await planData(
      { ...options, trains: recipe !== undefined && trainsWeights(recipe.passes) },
      dataset.dir,
      signal,
    )
    await prepareModelAndData({ modelPath, npzPath, datasetDir: dataset.dir, split, task }, ports.runner, signal)

    const base = { source, dataset, split, task, workDir, latencyDir: ports.latencyDir, profile: ports.profile }
    const { runner, limits, now, monotonicNow, onEvent, onProgress } = ports
    const shared = { runner, limits, now, monotonicNow, onEvent, onProgress }
    const result: StudyResult =
      recipe === undefined && wanted.kind === 'search'
        ? await fitModel(
            { ...base, objective: wanted.objective, budgetMs: wanted.budgetS * 1000 },
            { ...shared, store: memoryStudyStore() },
            signal,
          )
        : await applyRecipe({ ...base, recipe: recipe as Recipe }, shared, signal)

    const compared = await comparedPasses(result.winner, base, ports, signal)
    const report: OptimizeReport = {
      schemaVersion: 1,
      source: { digest: source.digest, sizeBytes: source.sizeBytes },
      dataset: { digest: dataset.digest, count, split },
      device: { class: ports.profile.hardwareClass, profile: ports.profile },
      objective: wanted.kind === 'search' ? wanted.objective : null,
      verdict: wanted.kind === 'recipe' ? 'applied' : result.verdict,
      baseline: result.baseline,
      winner: result.winner && {
        recipe: result.winner.recipe,
        unresolvedRecipe: result.winner.unresolved,
        digest: result.winner.digest,
        measurement: result.winner.measurement,
        passes: compared.passes,
      },
      trials: [...result.trials],
      reasons: [...result.reasons, ...compared.reasons],
    }
    await writeResults(outDir, result, report)
    return report
  } finally {
    await rm(workDir, { recursive: true, force: true })
  }
}

/** What each pass of a search's winner did to outputs and latency; where that fails, the rest of the report stands. */
async function comparedPasses(
  winner: StudyResult['winner'],
  { source, dataset, split, workDir, profile }: Omit<FitInput, 'objective' | 'budgetMs'>,
  { runner, limits, onEvent }: OptimizePorts,
  signal: AbortSignal,
): Promise<{ readonly passes: PassReport[]; readonly reasons: readonly string[] }> {
  const passes = [...(winner?.passes ?? [])]
  if (winner === null || passes.every(({ latencyP50Ms }) => latencyP50Ms !== null)) return { passes, reasons: [] }
  // Training takes too long to do it twice.
  if (trainsWeights(winner.recipe.passes)) return { passes, reasons: [] }
  onEvent({ kind: 'step', what: 'comparing the passes' })
  const result = await runner.run<'build'>(
    {
      kind: 'build',
      sourcePath: source.path,
      datasetDir: dataset.dir,
      split,
      recipe: winner.recipe,
      outPath: join(workDir, 'compared.onnx'),
      compare: PASS_COMPARISON,
      calibrationThreads: Math.max(1, Math.floor(profile.limits.cpus)),
    },
    { timeoutMs: limits.stepTimeoutMs },
    signal,
  )
  signal.throwIfAborted()
  if (result.kind === 'failed') return { passes, reasons: [`the passes could not be compared: ${result.message}`] }
  const { passes: again } = result.value
  return {
    passes: passes.map((pass, index) => {
      const { sqnrDb = null, latencyP50Ms = null } = again[index] ?? {}
      return { ...pass, sqnrDb, latencyP50Ms }
    }),
    reasons: [],
  }
}

async function readRecipe(path: string): Promise<Recipe> {
  return parseJsonWith(Recipe, await readFile(path, 'utf8'), path, 'RECIPE_INVALID')
}

/**
 * Written where there is a winner, beside the report. `--recipe` takes both recipes: the resolved one gives the same bytes
 * anywhere; the unresolved one, which calibrates again, gives them on this class of hardware, and suits other data too.
 */
export const RESULT_FILES = ['variant.onnx', 'recipe.json', 'recipe.unresolved.json'] as const

async function writeResults(outDir: string, { winner }: StudyResult, report: OptimizeReport): Promise<void> {
  const [variantPath = '', recipePath = '', unresolvedPath = ''] = RESULT_FILES.map((name) => join(outDir, name))
  if (winner === null) {
    // What an earlier run left here would be taken for this one's result.
    for (const path of [variantPath, recipePath, unresolvedPath]) await rm(path, { force: true })
  } else {
    await copyFile(winner.path, variantPath)
    await writeFileAtomic(recipePath, jsonDocument(winner.recipe))
    await writeFileAtomic(unresolvedPath, jsonDocument(winner.unresolved))
  }
  await writeFileAtomic(join(outDir, 'report.json'), jsonDocument(report))
}

function jsonDocument(value: unknown): Uint8Array {
  return Buffer.from(`${JSON.stringify(value, null, 2)}\n`)
}
