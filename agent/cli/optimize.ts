import { copyFile, mkdir, readFile, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { parseJsonWith } from '@edgefit/shared'
import { digestFile, writeFileAtomic } from '@edgefit/shared/artifact'
import { type Objective, type OptimizeReport, type Profile, Recipe, type Task } from '@edgefit/shared/model'
import { prepareModelAndData } from '../deploy/prepare.ts'
import type { JobRunner } from '../measure/runner.ts'
import { applyRecipe } from '../search/apply-recipe.ts'
import { DEFAULT_LIMITS } from '../search/child-lab.ts'
import { fitModel } from '../search/fit.ts'
import type { StudyEvent, StudyResult } from '../search/study.ts'
import { memoryStudyStore } from '../search/study-store.ts'
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
  readonly profile: Profile
  readonly now: () => number
  readonly monotonicNow: () => number
  readonly onEvent: (event: StudyEvent) => void
}

/**
 * Fits a model to this box without a controller and writes `variant.onnx`, `recipe.json` and `report.json` into
 * `outDir`. Where the objective is infeasible there is a report and no variant.
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
    const { split, count, task } = await planData(options, dataset.dir, signal)
    await prepareModelAndData({ modelPath, npzPath, datasetDir: dataset.dir, split, task }, ports.runner, signal)

    const base = { source, dataset, split, task, workDir, profile: ports.profile }
    const { runner, now, monotonicNow, onEvent } = ports
    const shared = { runner, limits: DEFAULT_LIMITS, now, monotonicNow, onEvent }
    const result: StudyResult =
      recipe === undefined && wanted.kind === 'search'
        ? await fitModel(
            { ...base, objective: wanted.objective, budgetMs: wanted.budgetS * 1000 },
            { ...shared, store: memoryStudyStore() },
            signal,
          )
        : await applyRecipe({ ...base, recipe: recipe as Recipe }, shared, signal)

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
        digest: result.winner.digest,
        measurement: result.winner.measurement,
      },
      trials: [...result.trials],
      reasons: [...result.reasons, ...(result.winner?.notes ?? [])],
    }
    await writeResults(outDir, result, report)
    return report
  } finally {
    await rm(workDir, { recursive: true, force: true })
  }
}

async function readRecipe(path: string): Promise<Recipe> {
  return parseJsonWith(Recipe, await readFile(path, 'utf8'), path, 'RECIPE_INVALID')
}

async function writeResults(outDir: string, { winner }: StudyResult, report: OptimizeReport): Promise<void> {
  const variantPath = join(outDir, 'variant.onnx')
  const recipePath = join(outDir, 'recipe.json')
  if (winner === null) {
    // What an earlier run left here would be taken for this one's result.
    await rm(variantPath, { force: true })
    await rm(recipePath, { force: true })
  } else {
    await copyFile(winner.path, variantPath)
    await writeFileAtomic(recipePath, jsonDocument(winner.recipe))
  }
  await writeFileAtomic(join(outDir, 'report.json'), jsonDocument(report))
}

function jsonDocument(value: unknown): Uint8Array {
  return Buffer.from(`${JSON.stringify(value, null, 2)}\n`)
}
