import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { digestFile } from '@edgefit/shared/artifact'
import type { Recipe, RuntimeSettings } from '@edgefit/shared/model'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { createChildRunner } from '../../agent/measure/child.ts'
import { createChildLab, DEFAULT_LIMITS } from '../../agent/search/child-lab.ts'
import { runStudy } from '../../agent/search/study.ts'
import { memoryStudyStore } from '../../agent/search/study-store.ts'
import { fashionDataset, mobileNet } from '../agent/measure/datasets.ts'

const runtime: RuntimeSettings = { intraOpThreads: 1, allowSpinning: false, memoryArena: true }
const split = { seed: 1, calibration: 50, tuning: 450, evaluation: 500 }
const brief = { minDurationMs: 100, minQueries: 64, maxQueries: 1000, maxDurationMs: 2000 }

/** One scale for all channels ruins the accuracy of this network, and all of it in one layer. */
const perTensor: Recipe = {
  schemaVersion: 1,
  label: 'per tensor',
  passes: [
    { pass: 'fold-batch-norm' },
    {
      pass: 'quantize-static',
      activations: { type: process.arch === 'arm64' ? 'int8' : 'uint8' },
      weights: { type: 'int8', perChannel: false, reducedRange: false },
      calibration: { method: 'minmax', samples: 50 },
      exclude: [],
    },
  ],
  runtime,
}

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'edgefit-mixed-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

it('finds the layer that quantization ruins, and leaves it in float', { timeout: 300_000 }, async () => {
  const lab = await createChildLab({
    runner: await createChildRunner({ lockPath: join(folder, 'lock') }),
    sourcePath: mobileNet,
    datasetDir: await fashionDataset(folder, 1000),
    split,
    task: { kind: 'classification' },
    workDir: folder,
    calibrationThreads: 1,
    hardwareClass: 'x64-test',
    now: Date.now,
    monotonicNow: () => performance.now(),
    limits: {
      ...DEFAULT_LIMITS,
      effort: { tuning: brief, evaluation: brief, runtime: brief },
      ranking: { samples: 16, effort: { minDurationMs: 0, maxDurationMs: 100 } },
    },
  })

  const { trials, winner } = await runStudy(
    {
      key: 'study',
      sourcePath: mobileNet,
      sourceDigest: await digestFile(mobileNet, AbortSignal.timeout(10_000)),
      sourceSizeBytes: 1,
      // Size, so that a busy machine decides nothing here.
      objective: { latencyP90Ms: 1e6, accuracy: { kind: 'relative', value: 0.97 }, minimize: 'size' },
      runtimeCandidates: [runtime],
      candidates: () => [perTensor],
      budgetMs: 600_000,
    },
    { lab, store: memoryStudyStore(), monotonicNow: () => performance.now(), onEvent: () => undefined },
    AbortSignal.timeout(290_000),
  )

  expect(trials[1]?.losses[0]?.reason).toBe('accuracy-below-floor')
  expect(winner?.unresolved.label).toMatch(/^per tensor.* layers? in float$/)
  const quantize = winner?.recipe.passes.find(({ pass }) => pass === 'quantize-static')
  const inFloat = quantize?.pass === 'quantize-static' ? quantize.exclude : []
  expect(inFloat).toContain('/3/f/f.0/Conv')
  // Besides, there may be layers that this machine found faster in float.
  expect(inFloat.length).toBeLessThan(20)
})
