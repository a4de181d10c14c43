import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { defaultSplit, unpackNpz } from '@edgefit/shared/dataset'
import { type OptimizeReport, Recipe, OptimizeReport as ReportSchema } from '@edgefit/shared/model'
import { afterAll, beforeAll, expect, it, vi } from 'vitest'
import { optimize, RESULT_FILES } from '../../../agent/cli/optimize.ts'
import { createChildRunner } from '../../../agent/measure/child.ts'
import type { Job, JobKind, JobOf } from '../../../agent/measure/jobs.ts'
import type { JobResult, JobRunner, RunOptions } from '../../../agent/measure/runner.ts'
import { DEFAULT_LIMITS } from '../../../agent/search/child-lab.ts'
import { BREAST_CANCER_MODEL, writeBreastCancerNpz } from '../../support/breast-cancer.ts'
import { SOME_PROFILE } from './some-profile.ts'

// Every step is a process, and the machine may be busy with others.
vi.setConfig({ testTimeout: 180_000, hookTimeout: 90_000 })

const brief = { minDurationMs: 0, minQueries: 64, maxQueries: 64, maxDurationMs: 50 }
const limits = { ...DEFAULT_LIMITS, effort: { tuning: brief, evaluation: brief, runtime: brief } }

let folder: string
let runner: JobRunner
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'edgefit-optimize-'))
  runner = await createChildRunner({ lockPath: join(folder, 'lock') })
  await writeBreastCancerNpz(join(folder, 'data.npz'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

function apply(recipePath: string, out: string): Promise<OptimizeReport> {
  return optimize(
    {
      modelPath: BREAST_CANCER_MODEL,
      npzPath: join(folder, 'data.npz'),
      outDir: join(folder, out),
      task: undefined,
      seed: 0,
      wanted: { kind: 'recipe', recipePath },
    },
    {
      runner,
      limits,
      profile: SOME_PROFILE,
      latencyDir: join(folder, 'latency'),
      teacherDir: join(folder, 'teachers'),
      now: () => 0,
      monotonicNow: () => 0,
      onEvent: () => undefined,
      onProgress: () => undefined,
    },
    AbortSignal.timeout(170_000),
  )
}

/** What the recipe of a file builds, with the data split as `optimize` splits it. */
async function bytesOf(recipe: Recipe): Promise<Buffer> {
  const outPath = join(folder, 'again.onnx')
  const datasetDir = join(folder, 'dataset')
  await unpackNpz(join(folder, 'data.npz'), datasetDir, AbortSignal.timeout(30_000))
  const built = await runner.run<'build'>(
    {
      kind: 'build',
      sourcePath: BREAST_CANCER_MODEL,
      datasetDir,
      split: defaultSplit(569, 0),
      recipe,
      outPath,
      calibrationThreads: 1,
    },
    { timeoutMs: 60_000 },
    AbortSignal.timeout(90_000),
  )
  if (built.kind === 'failed') throw new Error(built.message)
  return readFile(outPath)
}

const asked = {
  label: 'static int8, one layer in float',
  passes: [
    { pass: 'fold-batch-norm' },
    {
      pass: 'quantize-static',
      activations: { type: 'uint8' },
      weights: {},
      calibration: { method: 'minmax', samples: 50 },
      leaveInFloat: { by: 'noise', layers: 1 },
    },
    { pass: 'correct-bias', samples: 20 },
  ],
  runtime: { intraOpThreads: 1 },
}

it('writes a recipe in both forms, of which either gives the same bytes, and a report of every pass', async () => {
  await writeFile(join(folder, 'asked.json'), JSON.stringify(asked))
  const recipeOf = async (name: string) => Recipe.parse(JSON.parse(await readFile(join(folder, 'first', name), 'utf8')))

  const report = await apply(join(folder, 'asked.json'), 'first')
  const bytes = await readFile(join(folder, 'first/variant.onnx'))

  expect((await readdir(join(folder, 'first'))).sort()).toEqual([...RESULT_FILES, 'report.json'].sort())
  expect(await bytesOf(await recipeOf('recipe.json'))).toEqual(bytes)
  expect(await bytesOf(await recipeOf('recipe.unresolved.json'))).toEqual(bytes)
  const [, resolved] = (await recipeOf('recipe.json')).passes
  expect(resolved).toMatchObject({ exclude: [expect.any(String)], ranges: expect.any(Object) })
  expect(resolved).not.toHaveProperty('leaveInFloat')
  expect(await recipeOf('recipe.unresolved.json')).toEqual(Recipe.parse(asked))

  const written = ReportSchema.parse(JSON.parse(await readFile(join(folder, 'first/report.json'), 'utf8')))
  expect(written).toEqual(report)
  expect(written.reasons).toEqual(['the recipe was applied as given'])
  const passes = written.winner?.passes ?? []
  expect(passes.map(({ pass }) => pass)).toEqual(['fold-batch-norm', 'quantize-static', 'correct-bias'])
  expect(passes.map(({ nodesBefore }) => nodesBefore).slice(1)).toEqual(
    passes.map(({ nodesAfter }) => nodesAfter).slice(0, -1),
  )
  const [fold, quantize] = passes
  expect(fold?.sqnrDb).toBeGreaterThan(90)
  expect(quantize?.sqnrDb).toBeGreaterThan(10)
  expect(quantize?.sqnrDb).toBeLessThan(80)
  expect(quantize?.bytesAfter).toBeLessThan(quantize?.bytesBefore ?? 0)
  for (const { durationMs, latencyP50Ms } of passes) {
    expect(durationMs).toBeGreaterThanOrEqual(0)
    expect(latencyP50Ms).toBeGreaterThan(0)
  }
})

/** No recipe makes a model this small faster: this one counts as if it did. */
const FASTER = { kind: 'done', value: { latencyRatio: { low: 0.4, ratio: 0.5, high: 0.6 } }, peakRssBytes: 0 }

/** A search that ends after its first recipe, and whose last step, comparing the passes of its winner, fares as told. */
function search(out: string, comparing: () => Promise<never>, signal: AbortSignal): Promise<OptimizeReport> {
  let clockMs = 0
  const failing: JobRunner = {
    run<Kind extends JobKind>(job: JobOf<Kind>, ...rest: [RunOptions, AbortSignal]) {
      const asked: Job = job
      if (asked.kind === 'build' && asked.outPath.endsWith('compared.onnx')) return comparing()
      if (job.kind === 'measure-against') return Promise.resolve(FASTER as unknown as JobResult<Kind>)
      return runner.run<Kind>(job, ...rest)
    },
  }
  return optimize(
    {
      modelPath: BREAST_CANCER_MODEL,
      npzPath: join(folder, 'data.npz'),
      outDir: join(folder, out),
      task: undefined,
      seed: 0,
      wanted: {
        kind: 'search',
        // fp32 is larger than that.
        objective: { latencyP90Ms: 1000, sizeBytes: 7000, minimize: 'size' },
        budgetS: 1,
      },
    },
    {
      runner: failing,
      limits,
      profile: SOME_PROFILE,
      latencyDir: join(folder, 'latency'),
      teacherDir: join(folder, 'teachers'),
      now: () => 0,
      monotonicNow: () => clockMs,
      onEvent(event) {
        if (event.kind === 'trial' && event.trial.id === 1) clockMs = 10_000
      },
      onProgress: () => undefined,
    },
    signal,
  )
}

async function writtenReport(out: string): Promise<OptimizeReport> {
  expect(await readdir(join(folder, out))).toEqual(expect.arrayContaining([...RESULT_FILES, 'report.json']))
  return ReportSchema.parse(JSON.parse(await readFile(join(folder, out, 'report.json'), 'utf8')))
}

it('says of a pass that gave up which it was, and why', async () => {
  const recipePath = join(folder, 'wild.json')
  const pass = { pass: 'fine-tune', updates: 50, learningRate: 1e9, evaluateEvery: 10 }
  await writeFile(recipePath, JSON.stringify({ passes: [pass], runtime: { intraOpThreads: 1 } }))
  await expect(apply(recipePath, 'wild')).rejects.toMatchObject({
    code: 'PASS_FAILED',
    message: expect.stringMatching(/pass 1, fine-tune: training got out of hand .* Lower "learningRate"/),
  })
})

it('keeps what a search found whatever becomes of the comparison of its passes, and says where that failed', async () => {
  let before: OptimizeReport | undefined
  const comparing = async () => {
    before = await writtenReport('uncompared')
    throw new Error('no worker')
  }

  const report = await search('uncompared', comparing, AbortSignal.timeout(170_000))

  expect(before?.verdict).toBe('met')
  expect(report.winner?.passes).toMatchObject([{ pass: 'quantize-dynamic', latencyP50Ms: null }])
  const reasons = [...(before?.reasons ?? []), 'the passes could not be compared: no worker']
  expect(report).toEqual({ ...before, reasons })
  expect(await writtenReport('uncompared')).toEqual(report)
})
