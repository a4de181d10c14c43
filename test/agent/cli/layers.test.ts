import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Recipe } from '@edgefit/shared/model'
import { afterAll, beforeAll, expect, it, vi } from 'vitest'
import { formatLayers } from '../../../agent/cli/format-layers.ts'
import { rankedLayers } from '../../../agent/cli/layers.ts'
import { createChildRunner } from '../../../agent/measure/child.ts'
import type { JobRunner } from '../../../agent/measure/runner.ts'
import { BREAST_CANCER_MODEL, writeBreastCancerNpz } from '../../support/breast-cancer.ts'
import { SOME_PROFILE } from './some-profile.ts'

// Every step is a process, and the machine may be busy with others.
vi.setConfig({ testTimeout: 180_000, hookTimeout: 90_000 })

let folder: string
let runner: JobRunner
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'edgefit-layers-'))
  runner = await createChildRunner({ lockPath: join(folder, 'lock') })
  await writeBreastCancerNpz(join(folder, 'data.npz'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

function rank(recipe?: Recipe) {
  const options = { modelPath: BREAST_CANCER_MODEL, npzPath: join(folder, 'data.npz'), task: undefined, seed: 0 }
  const ports = {
    runner,
    profile: SOME_PROFILE,
    now: Date.now,
    monotonicNow: () => performance.now(),
    onStep: () => {},
  }
  return rankedLayers({ ...options, ...(recipe && { recipe }) }, ports, AbortSignal.timeout(170_000))
}

it('ranks the layers of the int8 form that suits the CPU, each with what it loses and what it costs', async () => {
  const { recipe, layers } = await rank()

  expect(recipe.passes.map(({ pass }) => pass)).toContain('quantize-static')
  expect(layers.map(({ opType }) => opType)).toEqual(layers.map(() => 'Gemm'))
  expect(layers.length).toBeGreaterThan(1)
  for (const { sqnrDb, lostMs } of layers) {
    expect(sqnrDb).toBeGreaterThan(10)
    expect(lostMs?.low).toBeLessThanOrEqual(lostMs?.high ?? Number.NaN)
  }
  const lines = formatLayers({ recipe, layers }).split('\n')
  expect(lines.filter((line) => line.includes(' Gemm '))).toHaveLength(layers.length)
})

it('refuses a recipe that leaves no layers to choose from', async () => {
  const recipe = Recipe.parse({
    passes: [{ pass: 'fold-constants' }],
    runtime: { intraOpThreads: 1 },
  })

  await expect(rank(recipe)).rejects.toThrow(/no pass that quantizes layer by layer/)
})
