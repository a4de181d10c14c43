import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { digestFile } from '@edgefit/shared/artifact'
import { openDataset, unpackNpz, writeNpz } from '@edgefit/shared/dataset'
import { type OptimizeReport, Recipe } from '@edgefit/shared/model'
import { loadModel, type Model, saveModel } from '@edgefit/shared/onnx'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { optimize } from '../../../agent/cli/optimize.ts'
import { createChildRunner } from '../../../agent/measure/child.ts'
import type { JobRunner } from '../../../agent/measure/runner.ts'
import { DEFAULT_LIMITS } from '../../../agent/search/child-lab.ts'
import { BREAST_CANCER_MODEL, writeBreastCancerNpz } from '../../support/breast-cancer.ts'
import { modelOf, op, randomTensor } from '../compress/support/graphs.ts'
import { untrainedModel } from '../compress/train/support/breast-cancer-training.ts'
import { SOME_PROFILE } from './some-profile.ts'

// Every step is a process, and the machine may be busy with others.
vi.setConfig({ testTimeout: 180_000, hookTimeout: 90_000 })

const brief = { minDurationMs: 0, minQueries: 64, maxQueries: 64, maxDurationMs: 50 }
const limits = { ...DEFAULT_LIMITS, effort: { tuning: brief, evaluation: brief, runtime: brief } }
const LESSON = { kind: 'distillation', mixing: 1, temperature: 2 }

let folder: string
let runner: JobRunner
const path = (name: string) => join(folder, name)
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'edgefit-student-'))
  runner = await createChildRunner({ lockPath: path('lock') })
  await writeBreastCancerNpz(path('labelled.npz'))
  await saveModel(path('student.onnx'), await untrainedModel(8))
  await writeUnlabelled()
})
afterAll(() => rm(folder, { recursive: true, force: true }))

/** That cannot replace the model: so many classes, under the name of the output. */
async function misfit(classes: number, output?: string): Promise<Model> {
  const { graph } = await loadModel(BREAST_CANCER_MODEL)
  const [input = '', last = ''] = [graph.inputs[0]?.name, output ?? graph.outputs[0]?.name]
  return modelOf({
    inputs: { [input]: ['n', 30] },
    outputs: [last],
    nodes: [op('MatMul', `${input} w -> ${last}`)],
    constants: [randomTensor('w', [30, classes], 2)],
  })
}

async function writeUnlabelled(): Promise<void> {
  const signal = AbortSignal.timeout(30_000)
  await unpackNpz(path('labelled.npz'), path('unpacked'), signal)
  const dataset = await openDataset(path('unpacked'))
  const rows = Array.from({ length: dataset.count }, (_, at) => at)
  const data = await dataset.readRows('input', rows)
  await dataset.close()
  await writeNpz(path('data.npz'), [{ name: 'input', dtype: 'float32', shape: [rows.length, 30], data }], {}, signal)
}

interface Asked {
  readonly student?: string
  readonly recipe: string
  readonly out?: string
}

function apply({ student, recipe, out = 'out' }: Asked): Promise<OptimizeReport> {
  return optimize(
    {
      modelPath: BREAST_CANCER_MODEL,
      npzPath: path('data.npz'),
      outDir: path(out),
      task: { kind: 'classification' },
      seed: 0,
      wanted: { kind: 'recipe', recipePath: path(recipe), ...(student && { studentPath: path(student) }) },
    },
    {
      runner,
      limits,
      profile: SOME_PROFILE,
      latencyDir: path('latency'),
      teacherDir: path('teachers'),
      now: () => 0,
      monotonicNow: () => 0,
      onEvent: () => undefined,
      onProgress: () => undefined,
    },
    AbortSignal.timeout(170_000),
  )
}

/** What a recipe builds from the same files. */
async function bytesOf(recipe: Recipe, { dataset }: OptimizeReport): Promise<Buffer> {
  const [datasetDir, outPath] = [path('unpacked-again'), path('again.onnx')]
  await unpackNpz(path('data.npz'), datasetDir, AbortSignal.timeout(30_000))
  const built = await runner.run<'build'>(
    {
      kind: 'build',
      sourcePath: BREAST_CANCER_MODEL,
      studentPath: path('student.onnx'),
      teacherDir: path('teachers'),
      datasetDir,
      split: dataset.split,
      recipe,
      task: { kind: 'classification' },
      outPath,
      calibrationThreads: 1,
    },
    { timeoutMs: 60_000 },
    AbortSignal.timeout(90_000),
  )
  if (built.kind === 'failed') throw new Error(built.message)
  return await readFile(outPath)
}

async function writeRecipe(name: string, training: object): Promise<void> {
  const tuned = {
    pass: 'fine-tune',
    optimizer: { kind: 'adam' },
    updates: 150,
    batch: 32,
    evaluateEvery: 50,
    ...training,
  }
  await writeFile(path(name), JSON.stringify({ passes: [tuned], runtime: { intraOpThreads: 1 } }))
}

/** What teachers said, with when it was written. */
async function answers(): Promise<readonly string[]> {
  const names = await readdir(path('teachers')).catch(() => [])
  return await Promise.all(names.map(async (name) => `${name} ${(await stat(path(`teachers/${name}`))).mtimeMs}`))
}

const percentages = (text: string): readonly number[] =>
  [...text.matchAll(/([\d.]+) %/g)].map(([, share]) => Number(share))

describe('optimize for a student', () => {
  it('distils without labels, and gives the same bytes from the resolved recipe, asking the teacher once', async () => {
    await writeRecipe('asked.json', { loss: LESSON, learningRate: 0.02 })
    const digest = await digestFile(path('student.onnx'), AbortSignal.timeout(10_000))

    const report = await apply({ student: 'student.onnx', recipe: 'asked.json' })
    const bytes = await readFile(path('out/variant.onnx'))
    const once = await answers()

    expect(report.source.digest).not.toBe(digest)
    const recipe = Recipe.parse(JSON.parse(await readFile(path('out/recipe.json'), 'utf8')))
    expect(recipe.passes).toMatchObject([{ pass: 'take-student', digest }, { pass: 'fine-tune' }])
    expect(report.winner?.recipe).toEqual(recipe)
    const [before = 100, after = 0] = percentages(report.winner?.passes[1]?.notes[0] ?? '')
    expect(after).toBeGreaterThan(Math.max(80, before + 10))
    const { accuracy } = report.winner?.measurement ?? {}
    expect(accuracy?.metric).toBe('agreement')
    expect(accuracy?.value).toBeGreaterThan(0.8)

    expect(once).toHaveLength(1)
    expect(await bytesOf(recipe, report)).toEqual(bytes)
    expect(await answers()).toEqual(once)
  })

  it.each<[string, () => Promise<Model>, string]>([
    ['other classes', () => misfit(3), 'the student gives float32 [n, 3]'],
    ['another output', () => misfit(2, 'mine'), 'as "mine"'],
  ])('refuses one with %s before anything is measured', async (_, make, words) => {
    await writeRecipe('asked.json', { loss: LESSON })
    await saveModel(path('unfit.onnx'), await make())
    const code = 'INPUT_INVALID'
    await expect(apply({ student: 'unfit.onnx', recipe: 'asked.json', out: 'unfit' })).rejects.toMatchObject({
      code,
      message: expect.stringMatching(/^--student: .*a student replaces the source/),
    })
    await expect(apply({ student: 'unfit.onnx', recipe: 'asked.json', out: 'unfit' })).rejects.toThrow(words)
  })

  it('wants the student that a recipe names', async () => {
    const passes = [{ pass: 'take-student', digest: 'a'.repeat(64) }]
    await writeFile(path('named.json'), JSON.stringify({ passes, runtime: { intraOpThreads: 1 } }))
    const code = 'RECIPE_INVALID'
    await expect(apply({ recipe: 'named.json' })).rejects.toMatchObject({
      code,
      message: expect.stringContaining('--student FILE'),
    })
    await expect(apply({ recipe: 'named.json', student: 'student.onnx' })).rejects.toMatchObject({
      code,
      message: expect.stringMatching(/has the digest [0-9a-f]{64}, and the recipe takes the student a{64}/),
    })
  })
})
