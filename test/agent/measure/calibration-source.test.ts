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

it('reads samples together where they are small, and one by one where a model takes one', async () => {
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
  for (let index = 0; index < 150; index += 1) await together.batch([index])
  expect(asked.length).toBeLessThan(10)
  asked.length = 0
  const apart = calibrationSource(counting(false))
  for (let index = 0; index < 20; index += 1) await apart.batch([index])
  expect(asked).toEqual(Array(20).fill(1))
})
