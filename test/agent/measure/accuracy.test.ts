import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { splitIndices } from '@edgefit/shared/dataset'
import type { Task } from '@edgefit/shared/model'
import { InferenceSession, Tensor } from 'onnxruntime-node'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { createChildRunner } from '../../../agent/measure/child.ts'
import type { JobOf } from '../../../agent/measure/jobs.ts'
import type { JobRunner } from '../../../agent/measure/runner.ts'
import { loadFashionMnist } from '../../../deploy/demo/fashion-mnist.ts'
import { breastCancer, breastCancerTable, fashionDataset, mobileNet, resNet, unpackedDataset } from './datasets.ts'

// Every test starts processes, and the machine may be busy with others.
vi.setConfig({ testTimeout: 90_000, hookTimeout: 90_000 })

const COUNT = 600
const split = { seed: 5, calibration: 50, tuning: 150, evaluation: 400 }
const runtime = { intraOpThreads: 1, allowSpinning: false, memoryArena: true }
const signal = AbortSignal.timeout(180_000)

let directory: string
let runner: JobRunner
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'edgefit-accuracy-'))
  runner = await createChildRunner({ lockPath: join(directory, 'lock') })
})
afterAll(() => rmSync(directory, { recursive: true, force: true }))

type AccuracyJob = JobOf<'measure-accuracy'>

function job(
  given: Pick<AccuracyJob, 'task'> & {
    datasetDir: string
    model: string
    baseline?: string
    split?: AccuracyJob['samples']['split']
  },
): AccuracyJob {
  return {
    kind: 'measure-accuracy',
    variant: { path: given.model, runtime },
    baseline: given.baseline === undefined ? null : { path: given.baseline, runtime },
    samples: { datasetDir: given.datasetDir, split: given.split ?? split, which: 'evaluation' },
    task: given.task,
    maxSamples: null,
    referencePath: join(directory, 'reference'),
  }
}

async function accuracy(given: Parameters<typeof job>[0]) {
  const result = await runner.run<'measure-accuracy'>(job(given), { timeoutMs: 60_000 }, signal)
  if (result.kind === 'failed') throw new Error(`${result.reason}: ${result.message}`)
  return result.value
}

/** Outputs of the evaluation rows, one by one, straight from the runtime. */
async function outputsOf(model: string, input: Float32Array, rowShape: readonly number[], rows: Iterable<number>) {
  const session = await InferenceSession.create(model, { intraOpNumThreads: 1, logSeverityLevel: 3 })
  const length = rowShape.reduce((product, dim) => product * dim, 1)
  const outputs: Float32Array[] = []
  for (const row of rows) {
    const data = input.slice(row * length, (row + 1) * length)
    const result = await session.run({ input: new Tensor('float32', data, [1, ...rowShape]) })
    outputs.push(result['logits']!.data as Float32Array)
  }
  await session.release()
  return outputs
}

const argmax = (row: Float32Array) => row.indexOf(Math.max(...row))

describe('accuracy of a classification', () => {
  const rows = splitIndices(COUNT, split).evaluation

  it('is the share of right classes, as counted one by one', async () => {
    const datasetDir = await fashionDataset(directory, COUNT)
    const { input, labels } = await loadFashionMnist(COUNT)
    const outputs = await outputsOf(resNet, input, [1, 28, 28], rows)
    const right = [...rows].filter((row, index) => argmax(outputs[index]!) === Number(labels[row])).length

    const figures = await accuracy({ datasetDir, model: resNet, task: { kind: 'classification' } })

    expect(figures).toMatchObject({
      accuracy: { metric: 'top1', value: right / 400, count: 400 },
      paired: null,
      difference: null,
      sqnrDb: null,
    })
    expect(figures.accuracy.low).toBeLessThan(right / 400)
    expect(figures.accuracy.high).toBeGreaterThan(right / 400)
  })

  it('is agreement with fp32 where there are no labels', async () => {
    const datasetDir = await fashionDataset(directory, COUNT, { labelled: false })
    const { input } = await loadFashionMnist(COUNT)
    const theirs = await outputsOf(resNet, input, [1, 28, 28], rows)
    const ours = await outputsOf(mobileNet, input, [1, 28, 28], rows)
    const same = theirs.filter((row, index) => argmax(row) === argmax(ours[index]!)).length

    const itself = await accuracy({ datasetDir, model: resNet, task: { kind: 'classification' } })
    const other = await accuracy({ datasetDir, model: mobileNet, baseline: resNet, task: { kind: 'classification' } })

    expect(itself.accuracy).toMatchObject({ metric: 'agreement', value: 1 })
    expect(same).toBeLessThan(400)
    expect(other.accuracy).toMatchObject({ metric: 'agreement', value: same / 400 })
    expect(other.paired).toEqual({ both: same, onlyVariant: 0, onlyBaseline: 400 - same, neither: 0 })
  })

  it('asks fp32 once for a set of samples', async () => {
    const datasetDir = await fashionDataset(directory, COUNT)
    const task: Task = { kind: 'classification' }
    const first = await accuracy({ datasetDir, model: resNet, task })
    const written = statSync(join(directory, 'reference'))

    const second = await accuracy({ datasetDir, model: mobileNet, baseline: resNet, task })

    const kept = statSync(join(directory, 'reference'))
    expect([kept.ino, kept.mtimeMs]).toEqual([written.ino, written.mtimeMs])
    const { both = 0, onlyBaseline = 0 } = second.paired ?? {}
    expect((both + onlyBaseline) / 400).toBe(first.accuracy.value)

    await accuracy({ datasetDir, model: resNet, task, split: { ...split, seed: 6 } })
    expect(statSync(join(directory, 'reference')).ino).not.toBe(written.ino)
  })

  it('refuses a dataset that does not fit the model', async () => {
    const { input, count } = breastCancerTable()
    const datasetDir = await unpackedDataset(directory, 'other-model', [
      { name: 'input', dtype: 'float32', shape: [count, 30], data: input },
    ])

    await expect(
      accuracy({ datasetDir, model: resNet, task: { kind: 'classification' }, split: { ...split, evaluation: 300 } }),
    ).rejects.toMatchObject({ code: 'DATASET_MISMATCH', message: expect.stringContaining('array "input"') })
  })
})

describe('the AUC', () => {
  const { input, labels, count } = breastCancerTable()
  const cancerSplit = { seed: 1, calibration: 50, tuning: 119, evaluation: 400 }
  const rows = [...splitIndices(count, cancerSplit).evaluation]
  const dataset = (name: string, withLabels: boolean) =>
    unpackedDataset(directory, name, [
      { name: 'input', dtype: 'float32', shape: [count, 30], data: input },
      ...(withLabels ? [{ name: 'labels', dtype: 'int64', shape: [count], data: labels } as const] : []),
    ])

  it('is the share of pairs in order, as counted pair by pair', async () => {
    const datasetDir = await dataset('cancer', true)
    const outputs = await outputsOf(breastCancer, input, [30], rows)
    const scores = outputs.map(([malignant, benign]) => benign! - malignant!)
    const benign = rows.flatMap((row, index) => (labels[row] === 1n ? [scores[index]!] : []))
    const malignant = rows.flatMap((row, index) => (labels[row] === 0n ? [scores[index]!] : []))
    const inOrder = benign.flatMap((high) => malignant.map((low) => (high > low ? 1 : high === low ? 0.5 : 0)))
    const expected = inOrder.reduce<number>((sum, one) => sum + one, 0) / inOrder.length
    const task: Task = { kind: 'binary-score' }

    const itself = await accuracy({ datasetDir, model: breastCancer, task, split: cancerSplit })
    const paired = await accuracy({ datasetDir, model: breastCancer, baseline: breastCancer, task, split: cancerSplit })

    expect(itself.accuracy).toMatchObject({ metric: 'auc', count: 400 })
    expect(itself.accuracy.value).toBeCloseTo(expected, 12)
    expect(itself.accuracy.low).toBeLessThan(itself.accuracy.value)
    expect(paired.difference).toEqual({ value: 0, low: 0 })
    expect(paired.paired).toBeNull()
  })

  it('needs labels', async () => {
    const datasetDir = await dataset('cancer-unlabelled', false)

    await expect(
      accuracy({ datasetDir, model: breastCancer, task: { kind: 'binary-score' }, split: cancerSplit }),
    ).rejects.toMatchObject({ code: 'DATASET_MISMATCH', message: expect.stringContaining('needs labels') })
  })

  it('gives way to a metric of the box', async () => {
    const datasetDir = await dataset('cancer-custom', true)
    const module = join(directory, 'metric.mjs')
    writeFileSync(
      module,
      'export const score = ({ logits }, label) => Number((logits.data[1] > logits.data[0]) === (label === 1))\n',
    )
    const task: Task = { kind: 'custom', module }

    const custom = await accuracy({ datasetDir, model: breastCancer, task, split: cancerSplit })

    const top1 = await accuracy({
      datasetDir,
      model: breastCancer,
      task: { kind: 'classification' },
      split: cancerSplit,
    })
    expect(custom.accuracy).toEqual({ ...top1.accuracy, metric: 'custom' })
    writeFileSync(module, 'export const grade = 1\n')
    await expect(accuracy({ datasetDir, model: breastCancer, task, split: cancerSplit })).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringMatching(/^task\.module: .* exports no function score/),
    })
  })

  it('is not what a regression without labels is judged by', async () => {
    const datasetDir = await dataset('cancer-regression', false)
    const task: Task = { kind: 'regression', tolerance: 1e-3 }

    const itself = await accuracy({ datasetDir, model: breastCancer, task, split: cancerSplit })
    const paired = await accuracy({ datasetDir, model: breastCancer, baseline: breastCancer, task, split: cancerSplit })

    expect(itself.accuracy).toMatchObject({ metric: 'within-tolerance', value: 1, count: 400 })
    expect(paired.paired).toEqual({ both: 400, onlyVariant: 0, onlyBaseline: 0, neither: 0 })
    expect(readFileSync(join(directory, 'reference')).byteLength).toBeGreaterThan(400 * 2 * 4)
  })
})
