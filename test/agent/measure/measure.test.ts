import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Recipe } from '@edgefit/shared/model'
import { loadModel, operatorHistogram } from '@edgefit/shared/onnx'
import { decodeHistogram } from '@edgefit/shared/stats'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { createChildRunner } from '../../../agent/measure/child.ts'
import { type MeasureInput, measureVariant } from '../../../agent/measure/measure.ts'
import type { JobRunner } from '../../../agent/measure/runner.ts'
import { fashionDataset, resNet } from './datasets.ts'

// Every test starts processes, and the machine may be busy with others.
vi.setConfig({ testTimeout: 90_000, hookTimeout: 90_000 })

const split = { seed: 3, calibration: 64, tuning: 100, evaluation: 236 }
const runtime = { intraOpThreads: 1, allowSpinning: false, memoryArena: true }
const effort = { minDurationMs: 100, minQueries: 64, maxQueries: 1000, maxDurationMs: 5000 }
const run = { timeoutMs: 60_000 }
const signal = AbortSignal.timeout(180_000)

let directory: string
let runner: JobRunner
let datasetDir: string
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'edgefit-measure-'))
  runner = await createChildRunner({ lockPath: join(directory, 'lock') })
  datasetDir = await fashionDataset(directory, 400)
})
afterAll(() => rmSync(directory, { recursive: true, force: true }))

const input = (given: Partial<MeasureInput>): MeasureInput => ({
  variant: { path: resNet, runtime },
  baseline: null,
  samples: { datasetDir, split, which: 'tuning' },
  effort,
  task: { kind: 'classification' },
  maxSamples: null,
  referencePath: join(directory, 'fp32.ref'),
  ...given,
})

async function measured(given: Partial<MeasureInput>) {
  const result = await measureVariant(runner, input(given), { ...run, now: () => 1234 }, signal)
  if (result.kind === 'failed') throw new Error(`${result.reason}: ${result.message}`)
  return result.measurement
}

function build(recipe: Pick<Recipe, 'passes'>, outPath: string) {
  const whole: Recipe = { schemaVersion: 1, runtime, ...recipe }
  return runner.run<'build'>(
    { kind: 'build', sourcePath: resNet, datasetDir, split, recipe: whole, outPath, calibrationThreads: 2 },
    run,
    signal,
  )
}

describe('a measurement of fp32', () => {
  it('is consistent in itself', async () => {
    const measurement = await measured({})

    const { latencyMs, histogram } = measurement
    expect(latencyMs.count).toBeGreaterThanOrEqual(64)
    expect(latencyMs.p50).toBeGreaterThan(0)
    expect(latencyMs.p90).toBeGreaterThanOrEqual(latencyMs.p50)
    expect(latencyMs.p99).toBeGreaterThanOrEqual(latencyMs.p90)
    expect(latencyMs.p90Bound).toBeGreaterThanOrEqual(latencyMs.p90)
    expect(decodeHistogram(histogram).count).toBe(latencyMs.count)
    expect(measurement).toMatchObject({
      sizeBytes: readFileSync(resNet).byteLength,
      threads: 1,
      runtime,
      split: 'tuning',
      runtimeVersion: '1.30.0',
      measuredAtMs: 1234,
      accuracy: { metric: 'top1', count: 100 },
    })
    expect(measurement.againstBaseline).toBeUndefined()
    expect(measurement.loadMs).toBeGreaterThan(0)
    expect(measurement.peakRssBytes).toBeGreaterThan(50e6)
  })

  it('against itself finds no difference', async () => {
    const { againstBaseline, accuracy } = await measured({ baseline: { path: resNet, runtime } })

    const right = Math.round((accuracy?.value ?? 0) * 100)
    expect(againstBaseline?.paired).toEqual({ both: right, onlyVariant: 0, onlyBaseline: 0, neither: 100 - right })
    expect(againstBaseline?.sqnrDb).toBe(200)
    // Other programs on the machine widen the interval; it stays one around "the same".
    expect(againstBaseline?.latencyRatio.low).toBeLessThan(1.5)
    expect(againstBaseline?.latencyRatio.high).toBeGreaterThan(0.67)
  })

  it('measures no accuracy without a task', async () => {
    expect((await measured({ task: null })).accuracy).toBeNull()
  })
})

describe('a built variant', () => {
  const outPath = () => join(directory, 'static.onnx')
  const passes: Recipe['passes'] = [
    {
      pass: 'quantize-static',
      activations: { type: 'uint8' },
      weights: { type: 'int8', perChannel: true, reducedRange: false },
      calibration: { method: 'minmax', samples: 32 },
      exclude: [],
    },
  ]

  it('is written, described by its digest, and can be built again from its resolved recipe', async () => {
    const first = await build({ passes }, outPath())
    if (first.kind === 'failed') throw new Error(first.message)
    const again = await build(first.value.resolvedRecipe, join(directory, 'again.onnx'))

    expect(first.value.sizeBytes).toBe(readFileSync(outPath()).byteLength)
    expect(operatorHistogram(await loadModel(outPath())).get('QuantizeLinear')).toBeGreaterThan(10)
    expect(first.value.resolvedRecipe.passes[0]).toHaveProperty('ranges')
    expect(first.value.passes[0]?.bytesAfter).toBeLessThan((first.value.passes[0]?.bytesBefore ?? 0) / 3)
    expect(again).toMatchObject({ kind: 'done', value: { digest: first.value.digest } })
    const executed =
      'the runtime executes as intended: QLinearConv ×15, QLinearAdd ×6, QLinearGlobalAveragePool, Flatten, QGemm'
    expect(first.value.passes[0]?.notes).toContain(executed)
    // The graph that told so leaves nothing behind.
    expect(readdirSync(directory).filter((name) => name.startsWith('.'))).toEqual([])
  })

  it('is compared with fp32 on the same samples', async () => {
    await build({ passes }, outPath())

    const { againstBaseline, accuracy } = await measured({
      variant: { path: outPath(), runtime },
      baseline: { path: resNet, runtime },
    })

    const { both, onlyVariant, onlyBaseline, neither } = againstBaseline?.paired ?? {}
    expect((both ?? 0) + (onlyVariant ?? 0) + (onlyBaseline ?? 0) + (neither ?? 0)).toBe(100)
    expect(((both ?? 0) + (onlyVariant ?? 0)) / 100).toBe(accuracy?.value)
    expect(againstBaseline?.sqnrDb).toBeGreaterThan(15)
    expect(againstBaseline?.sqnrDb).toBeLessThan(60)
    const { ratio = 0, low = 0, high = 0 } = againstBaseline?.latencyRatio ?? {}
    expect(low).toBeLessThanOrEqual(ratio)
    expect(high).toBeGreaterThanOrEqual(ratio)
  })

  it('is refused when a recipe asks for more samples than there are', async () => {
    const [pass] = passes
    if (pass?.pass !== 'quantize-static') throw new Error('another recipe')
    const greedy = { passes: [{ ...pass, calibration: { method: 'minmax' as const, samples: 65 } }] }

    await expect(build(greedy, outPath())).rejects.toMatchObject({ code: 'DATASET_INVALID' })
  })
})

describe('a model that cannot be used', () => {
  const inspect = (modelPath: string) =>
    runner.run<'inspect'>({ kind: 'inspect', modelPath, samples: { datasetDir, split, which: 'tuning' } }, run, signal)

  it('is unsupported when it is cut off, in the words of the runtime', async () => {
    const path = join(directory, 'truncated.onnx')
    copyFileSync(resNet, path)
    truncateSync(path, 1_000_000)

    expect(await inspect(path)).toMatchObject({
      kind: 'failed',
      reason: 'unsupported',
      message: expect.stringContaining('the runtime refused the model'),
    })
  })

  it('is unsupported when it is something else', async () => {
    const path = join(directory, 'text.onnx')
    writeFileSync(path, 'not a model')

    expect(await inspect(path)).toMatchObject({ kind: 'failed', reason: 'unsupported' })
    expect(
      await measureVariant(runner, input({ variant: { path, runtime } }), { ...run, now: () => 0 }, signal),
    ).toMatchObject({ kind: 'failed', reason: 'unsupported' })
  })

  it('is not found when it is not there', async () => {
    await expect(inspect(join(directory, 'absent.onnx'))).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })

  it('is described when it is good', async () => {
    expect(await inspect(resNet)).toMatchObject({
      kind: 'done',
      value: {
        inputs: [{ name: 'input', type: 'float32', dims: ['batch', 1, 28, 28] }],
        outputs: [{ name: 'logits', type: 'float32', dims: ['batch', 10] }],
        runtimeVersion: '1.30.0',
      },
    })
  })
})

describe('runtime settings', () => {
  it('are timed in the order given', async () => {
    const candidates = [1, 2].map((intraOpThreads) => ({ ...runtime, intraOpThreads }))

    const result = await runner.run<'tune-runtime'>(
      {
        kind: 'tune-runtime',
        modelPath: resNet,
        samples: { datasetDir, split, which: 'tuning' },
        candidates,
        effort,
      },
      run,
      signal,
    )

    if (result.kind === 'failed') throw new Error(result.message)
    expect(result.value.candidates.map((candidate) => candidate.runtime)).toEqual(candidates)
    for (const { p50Ms, p90Ms, count } of result.value.candidates) {
      expect(p50Ms).toBeGreaterThan(0)
      expect(p90Ms).toBeGreaterThanOrEqual(p50Ms)
      expect(count).toBeGreaterThanOrEqual(64)
    }
  })
})

describe('the speed of the box', () => {
  it('is positive in all figures', async () => {
    const result = await runner.run<'profile-bench'>({ kind: 'profile-bench', threads: 1 }, run, signal)

    if (result.kind === 'failed') throw new Error(result.message)
    for (const figure of Object.values(result.value)) expect(figure).toBeGreaterThan(0)
  })
})

describe('the process of the agent', () => {
  it('has not loaded the runtime after all this', () => {
    expect(readFileSync('/proc/self/maps', 'utf8')).not.toContain('onnxruntime')
  })
})
