import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TensorSpec } from '@edgefit/shared/model'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { calibrationSource } from '../../../agent/measure/calibration-source.ts'
import { openSamples, type Samples } from '../../../agent/measure/samples.ts'
import { breastCancerTable, unpackedDataset } from './datasets.ts'

const input: TensorSpec = { name: 'input', type: 'float32', dims: [null, 30] }
const split = { seed: 1, calibration: 150, tuning: 10, evaluation: 10 }

let directory: string
let samples: Samples
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'edgefit-calibration-'))
  const table = breastCancerTable()
  const datasetDir = await unpackedDataset(directory, 'table', [
    { name: 'input', dtype: 'float32', shape: [table.count, 30], data: table.input },
  ])
  samples = await openSamples({ datasetDir, split, which: 'calibration' }, [input])
})
afterAll(async () => {
  await samples.close()
  rmSync(directory, { recursive: true, force: true })
})

it('gives every sample as it is alone, in any order and as often as asked', async () => {
  const source = calibrationSource(samples)
  expect(source.count).toBe(150)
  for (const index of [0, 1, 63, 64, 149, 148, 3, 3, 100]) {
    expect(await source.batch([index])).toEqual(await samples.feeds(index, 1))
  }
})

it('gives several that follow one another as rows of one feed', async () => {
  const source = calibrationSource(samples)
  expect(source.batchable).toBe(true)
  for (const [first, count] of [
    [0, 32],
    [32, 32],
    [128, 22],
    [5, 3],
  ] as const) {
    const indices = Array.from({ length: count }, (_, at) => first + at)
    expect(await source.batch(indices)).toEqual(await samples.feeds(first, count))
  }
})

it('reads small samples once for all passes, and one by one where a model takes one', async () => {
  const asked: number[] = []
  const counting = (batchable: boolean): Samples => ({
    ...samples,
    batchable,
    feeds: (start, size) => {
      asked.push(size)
      return samples.feeds(start, size)
    },
  })
  const together = calibrationSource(counting(true))
  for (const _ of [1, 2]) for (let index = 0; index < 150; index += 1) await together.batch([index])
  expect(asked).toEqual([1, 150])
  asked.length = 0
  const apart = calibrationSource(counting(false))
  expect(apart.batchable).toBe(false)
  for (let index = 0; index < 20; index += 1) await apart.batch([index])
  expect(asked).toEqual(Array(20).fill(1))
})

it('keeps no more than a mebibyte of samples that are large', async () => {
  const asked: number[] = []
  const large = 2 ** 18
  const source = calibrationSource({
    ...samples,
    feeds: (_, size) => {
      asked.push(size)
      const data = new Float32Array((size * large) / 4)
      return Promise.resolve({ input: { type: 'float32', dims: [size, large / 4], data } })
    },
  })
  for (let index = 0; index < 8; index += 1) await source.batch([index])
  await source.batch([8, 9, 10, 11, 12, 13])
  expect(asked).toEqual([1, 4, 4, 6])
})
