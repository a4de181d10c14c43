import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Recipe } from '@edgefit/shared/model'
import { afterAll, beforeAll, expect, it, vi } from 'vitest'
import { createChildRunner } from '../../../agent/measure/child.ts'
import type { JobRunner } from '../../../agent/measure/runner.ts'
import { fashionDataset, resNet } from './datasets.ts'

// Every test starts a process, and the machine may be busy with others.
vi.setConfig({ testTimeout: 90_000, hookTimeout: 90_000 })

let directory: string
let runner: JobRunner
let datasetDir: string
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'edgefit-rank-'))
  runner = await createChildRunner({ lockPath: join(directory, 'lock') })
  datasetDir = await fashionDataset(directory, 100)
})
afterAll(() => rmSync(directory, { recursive: true, force: true }))

function rank(passes: Recipe['passes'], maxDurationMs?: number) {
  return runner.run<'rank-layers'>(
    {
      kind: 'rank-layers',
      sourcePath: resNet,
      datasetDir,
      split: { seed: 3, calibration: 20, tuning: 20, evaluation: 60 },
      recipe: { schemaVersion: 1, passes, runtime: { intraOpThreads: 1, allowSpinning: false, memoryArena: true } },
      task: { kind: 'classification' },
      samples: 64,
      effort: { minDurationMs: 0, maxDurationMs: 50 },
      calibrationThreads: 1,
      ...(maxDurationMs !== undefined && { maxDurationMs }),
    },
    { timeoutMs: 60_000 },
    AbortSignal.timeout(90_000),
  )
}

const STATIC: Recipe['passes'] = [
  { pass: 'fold-batch-norm' },
  {
    pass: 'quantize-static',
    activations: { type: 'uint8' },
    weights: { type: 'int8', perChannel: true, reducedRange: false },
    calibration: { method: 'minmax', samples: 10 },
    exclude: [],
  },
]

it('ranks every layer of a network by noise and by the milliseconds that float would cost', async () => {
  const ranked = await rank(STATIC)

  if (ranked.kind === 'failed') throw new Error(ranked.message)
  const { layers } = ranked.value
  expect(new Set(layers.map(({ layer }) => layer)).size).toBe(16)
  expect(layers.every(({ sqnrDb }) => sqnrDb > 15 && sqnrDb < 80)).toBe(true)
  expect(layers.every(({ klDivergence }) => klDivergence !== null && klDivergence >= 0)).toBe(true)
  const timed = layers.flatMap(({ lostMs }) => lostMs ?? [])
  expect(timed.length).toBeGreaterThanOrEqual(8)
  for (const { value, low, high } of timed) {
    expect(low).toBeLessThanOrEqual(value)
    expect(high).toBeGreaterThanOrEqual(value)
  }
  // Those that were not timed come last.
  expect(layers.slice(timed.length).every(({ lostMs }) => lostMs === null)).toBe(true)
})

it('ranks by noise alone where there is no time to time layers', async () => {
  const ranked = await rank(STATIC, 0)

  if (ranked.kind === 'failed') throw new Error(ranked.message)
  const { layers } = ranked.value
  expect(layers).toHaveLength(16)
  expect(layers.every(({ lostMs }) => lostMs === null)).toBe(true)
  const harms = layers.map(({ klDivergence }) => klDivergence ?? 0)
  expect(harms).toEqual([...harms].sort((a, b) => b - a))
})

it('refuses a recipe that quantizes nothing', async () => {
  await expect(rank([{ pass: 'fold-batch-norm' }])).rejects.toMatchObject({ code: 'RECIPE_INVALID' })
})
