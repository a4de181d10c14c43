import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { digestFile } from '@edgefit/shared/artifact'
import { Recipe } from '@edgefit/shared/model'
import { saveModel } from '@edgefit/shared/onnx'
import { afterAll, beforeAll, expect, it, vi } from 'vitest'
import { createChildRunner } from '../../../agent/measure/child.ts'
import type { JobOf } from '../../../agent/measure/jobs.ts'
import type { JobRunner } from '../../../agent/measure/runner.ts'
import { untrainedModel } from '../compress/train/support/breast-cancer-training.ts'
import { breastCancer, breastCancerTable, unpackedDataset } from './datasets.ts'

vi.setConfig({ testTimeout: 120_000, hookTimeout: 90_000 })

const split = { seed: 3, calibration: 60, tuning: 100, evaluation: 100, training: 200 }
const LESSON = { pass: 'fine-tune', updates: 2, batch: 32, loss: { kind: 'distillation', mixing: 1 } }

let folder: string
let runner: JobRunner
let datasetDir: string
const path = (name: string) => join(folder, name)
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'edgefit-answers-'))
  runner = await createChildRunner({ lockPath: path('lock') })
  datasetDir = await table('data', 0)
  await saveModel(path('student.onnx'), await untrainedModel(2))
  await saveModel(path('other.onnx'), await untrainedModel(3))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** Rows without labels, the first number of all changed. */
function table(name: string, by: number): Promise<string> {
  const { input, count } = breastCancerTable()
  const data = input.with(0, (input[0] ?? 0) + by)
  return unpackedDataset(folder, name, [{ name: 'input', dtype: 'float32', shape: [count, 30], data }])
}

async function build(training: object, more: Partial<JobOf<'build'>> = {}): Promise<string> {
  const digest = await digestFile(path('student.onnx'), AbortSignal.timeout(10_000))
  const passes = [
    { pass: 'take-student', digest },
    { ...LESSON, ...training },
  ]
  const result = await runner.run<'build'>(
    {
      kind: 'build',
      sourcePath: breastCancer,
      studentPath: path('student.onnx'),
      teacherDir: path('teachers'),
      datasetDir,
      split,
      recipe: Recipe.parse({ passes, runtime: { intraOpThreads: 1 } }),
      task: { kind: 'classification' },
      outPath: path(`${Object.keys(training).join() || 'plain'}.onnx`),
      calibrationThreads: 1,
      ...more,
    },
    { timeoutMs: 60_000 },
    AbortSignal.timeout(110_000),
  )
  if (result.kind === 'failed') throw new Error(result.message)
  return result.value.digest
}

/** What teachers said, with when it was written. */
const answers = (): readonly string[] =>
  readdirSync(path('teachers'))
    .sort()
    .map((name) => `${name} ${statSync(path(`teachers/${name}`)).mtimeMs}`)

it('keeps what a teacher said for other recipes and the same data elsewhere, and asks again for other data or a changed teacher', async () => {
  await build({})
  const once = answers()
  expect(once).toHaveLength(1)

  await build({ learningRate: 0.02 }, { datasetDir: await table('data-again', 0) })
  expect(answers()).toEqual(once)

  await build({}, { sourcePath: path('other.onnx') })
  const twice = answers()
  expect(twice).toHaveLength(2)
  expect(twice).toEqual(expect.arrayContaining([...once]))

  await build({}, { datasetDir: await table('changed', 1) })
  expect(answers()).toHaveLength(3)
})
