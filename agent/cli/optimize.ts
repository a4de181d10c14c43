import { copyFile, mkdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { digestFile, writeFileAtomic } from '@edgefit/shared/artifact'
import {
  type Objective,
  type OptimizeReport,
  type PassReport,
  type Profile,
  type Recipe,
  type Task,
  trainsWeights,
} from '@edgefit/shared/model'
import { prepareModelAndData } from '../deploy/prepare.ts'
import type { JobProgress } from '../measure/jobs.ts'
import type { JobRunner } from '../measure/runner.ts'
import { threadsFor } from '../profile/threads-for.ts'
import { applyRecipe } from '../search/apply-recipe.ts'
import { type LabLimits, PASS_COMPARISON } from '../search/child-lab.ts'
import { type FitInput, fitModel } from '../search/fit.ts'
import { memoryStudyStore } from '../search/study-store.ts'
import type { StudyEvent, Winner } from '../search/study-types.ts'
import { readRecipe } from './files.ts'
import { planData } from './plan-data.ts'
import { prepareStudent, recipeForStudent } from './student.ts'

export interface OptimizeOptions {
  readonly modelPath: string
  readonly npzPath: string
  readonly outDir: string
  /** Undefined: taken from the labels and the output, see `inferTask`. */
  readonly task: Task | undefined
  readonly seed: number
  readonly wanted:
    | { readonly kind: 'search'; readonly objective: Objective; readonly budgetS: number }
    | {
        readonly kind: 'recipe'
        readonly recipePath: string
        /** A model that the passes work on, and which is to replace the source. */
        readonly studentPath?: string
      }
}

export interface OptimizePorts {
  readonly runner: JobRunner
  readonly limits: LabLimits
  readonly profile: Profile
  /** Where it is kept how long operators take on this box. */
  readonly latencyDir: string
  /** Where the answers of teachers are kept from run to run. */
  readonly teacherDir: string
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
  const { modelPath, npzPath, outDir } = options
  const workDir = join(outDir, '.edgefit-work')
  await mkdir(outDir, { recursive: true })
  // What an interrupted run left lets this one go on: variants go by their recipes, training by its checkpoints.
  await mkdir(workDir, { recursive: true })
  try {
    const wanted = await readWanted(options, signal)
    const studentPath = wanted.kind === 'recipe' ? wanted.studentPath : undefined
    const source = {
      path: modelPath,
      digest: await digestFile(modelPath, signal),
      sizeBytes: (await stat(modelPath)).size,
    }
    const dataset = { dir: join(workDir, 'dataset'), digest: await digestFile(npzPath, signal) }
    const { split, count, task } = await planData(
      { ...options, trains: wanted.kind === 'recipe' && trainsWeights(wanted.recipe.passes) },
      dataset.dir,
      signal,
    )
    const prepared = { modelPath, npzPath, datasetDir: dataset.dir, split, task }
    await prepareModelAndData(prepared, ports.runner, signal)
    if (studentPath !== undefined) await prepareStudent({ ...prepared, modelPath: studentPath }, ports.runner, signal)

    const base = { source, dataset, split, task, workDir, latencyDir: ports.latencyDir, profile: ports.profile }
    const { runner, limits, now, monotonicNow, onEvent, onProgress } = ports
    const shared = { runner, limits, now, monotonicNow, onEvent, onProgress }
    const result =
      wanted.kind === 'search'
        ? await fitModel(
            { ...base, objective: wanted.objective, budgetMs: wanted.budgetS * 1000 },
            { ...shared, store: memoryStudyStore() },
            signal,
          )
        : await applyRecipe(
            { ...base, recipe: wanted.recipe, studentPath, teacherDir: ports.teacherDir },
            shared,
            signal,
          )

    const { winner } = result
    const report: OptimizeReport = {
      schemaVersion: 1,
      source: { digest: source.digest, sizeBytes: source.sizeBytes },
      dataset: { digest: dataset.digest, count, split },
      device: { class: ports.profile.hardwareClass, profile: ports.profile },
      objective: wanted.kind === 'search' ? wanted.objective : null,
      verdict: wanted.kind === 'recipe' ? 'applied' : result.verdict,
      baseline: result.baseline,
      winner: winner && {
        recipe: winner.recipe,
        unresolvedRecipe: winner.unresolved,
        digest: winner.digest,
        measurement: winner.measurement,
        passes: [...winner.passes],
      },
      trials: [...result.trials],
      reasons: [...result.reasons],
    }
    // Whatever becomes of the comparison, what was found is not lost.
    await writeVariant(outDir, winner)
    await writeReport(outDir, report)
    if (winner === null || report.winner === null || !isToCompare(winner)) return report

    const { passes, reasons } = await comparedPasses(winner, base, ports, signal)
    const compared: OptimizeReport = {
      ...report,
      winner: { ...report.winner, passes },
      reasons: [...report.reasons, ...reasons],
    }
    await writeReport(outDir, compared)
    return compared
  } finally {
    if (!signal.aborted) await rm(workDir, { recursive: true, force: true })
  }
}

type Wanted =
  | Extract<OptimizeOptions['wanted'], { readonly kind: 'search' }>
  | { readonly kind: 'recipe'; readonly recipe: Recipe; readonly studentPath: string | undefined }

async function readWanted({ modelPath, wanted }: OptimizeOptions, signal: AbortSignal): Promise<Wanted> {
  if (wanted.kind === 'search') return wanted
  const { recipePath, studentPath } = wanted
  const read = await readRecipe(recipePath)
  const recipe = await recipeForStudent(read, { sourcePath: modelPath, studentPath }, signal)
  return { kind: 'recipe', recipe, studentPath }
}

/** A recipe that was applied has been compared; training takes too long to do it twice. */
function isToCompare({ passes, recipe }: Winner): boolean {
  return passes.some(({ latencyP50Ms }) => latencyP50Ms === null) && !trainsWeights(recipe.passes)
}

/** What each pass of a search's winner did to outputs and latency; where that fails, the rest of the report stands. */
async function comparedPasses(
  { passes, recipe }: Winner,
  { source, dataset, split, workDir, profile }: Omit<FitInput, 'objective' | 'budgetMs'>,
  { runner, limits, onEvent }: OptimizePorts,
  signal: AbortSignal,
): Promise<{ readonly passes: PassReport[]; readonly reasons: readonly string[] }> {
  onEvent({ kind: 'step', what: 'comparing the passes' })
  const job = {
    kind: 'build',
    sourcePath: source.path,
    datasetDir: dataset.dir,
    split,
    recipe,
    outPath: join(workDir, 'compared.onnx'),
    compare: PASS_COMPARISON,
    calibrationThreads: threadsFor(profile.limits.cpus),
  } as const
  const result = await runner
    .run<'build'>(job, { timeoutMs: limits.stepTimeoutMs }, signal)
    .catch((error: unknown) => ({
      kind: 'failed' as const,
      message: error instanceof Error ? error.message : String(error),
    }))
  signal.throwIfAborted()
  if (result.kind === 'failed') {
    return { passes: [...passes], reasons: [`the passes could not be compared: ${result.message}`] }
  }
  const { passes: again } = result.value
  return {
    passes: passes.map((pass, index) => {
      const { sqnrDb = null, latencyP50Ms = null } = again[index] ?? {}
      return { ...pass, sqnrDb, latencyP50Ms }
    }),
    reasons: [],
  }
}

/**
 * Written where there is a winner, beside the report. `--recipe` takes both recipes: the resolved one gives the same bytes
 * anywhere; the unresolved one, which calibrates again, gives them on this class of hardware, and suits other data too.
 */
export const RESULT_FILES = ['variant.onnx', 'recipe.json', 'recipe.unresolved.json'] as const

async function writeVariant(outDir: string, winner: Winner | null): Promise<void> {
  const [variantPath = '', recipePath = '', unresolvedPath = ''] = RESULT_FILES.map((name) => join(outDir, name))
  if (winner === null) {
    // What an earlier run left here would be taken for this one's result.
    for (const path of [variantPath, recipePath, unresolvedPath]) await rm(path, { force: true })
    return
  }
  await copyFile(winner.path, variantPath)
  await writeFileAtomic(recipePath, jsonDocument(winner.recipe))
  await writeFileAtomic(unresolvedPath, jsonDocument(winner.unresolved))
}

async function writeReport(outDir: string, report: OptimizeReport): Promise<void> {
  await writeFileAtomic(join(outDir, 'report.json'), jsonDocument(report))
}

function jsonDocument(value: unknown): Uint8Array {
  return Buffer.from(`${JSON.stringify(value, null, 2)}\n`)
}
