import { elementCount, encodeModel, type Model } from '@edgefit/shared/onnx'
import { seededRandom } from '@edgefit/shared/stats'
import { describe, expect, it } from 'vitest'
import type { Interval } from '../../../../../agent/compress/affine.ts'
import { collectRanges } from '../../../../../agent/compress/calibration/collect.ts'
import { quantizeStatic } from '../../../../../agent/compress/quantize-static/quantize-static.ts'
import { quantizationAware } from '../../../../../agent/compress/train/quantized/quantization-aware.ts'
import type { Numbers } from '../../../../../agent/compress/train/run-step.ts'
import { type Trainee, train } from '../../../../../agent/compress/train/train.ts'
import { withWeights } from '../../../../../agent/compress/train/with-weights.ts'
import { openSession } from '../../support/runtime.ts'
import { breastCancer, judgeOn, portsOf, SMALL_PLAN, untrainedModel } from '../support/breast-cancer-training.ts'

const signal = new AbortController().signal
const OPTIONS = {
  activations: 'uint8',
  weights: { type: 'int8', perChannel: true, reducedRange: false },
  exclude: [],
} as const

const GIVEN = {
  scope: { kind: 'all' },
  optimizer: 'adam',
  weightScales: 'from-weights',
  activationRanges: 'frozen',
} as const
const LEARNED = { ...GIVEN, weightScales: 'learned', activationRanges: 'learned' } as const

async function calibrated(model: Model): Promise<ReadonlyMap<string, Interval>> {
  const { training } = await breastCancer()
  const { prepared, observe } = quantizeStatic(model, OPTIONS)
  return collectRanges({
    model: prepared,
    tensors: observe,
    samples: 64,
    source: { count: training.count, batch: (indices) => training.feeds(indices) },
    openSession,
    threads: 1,
    signal,
    method: { method: 'minmax' },
    integers: { min: 0, max: 255 },
    onProgress: () => undefined,
  })
}

/** Scores by the graph as it is written, nothing merged. */
async function scoresOf(model: Model): Promise<readonly number[]> {
  const { tuning } = await breastCancer()
  const session = await openSession(encodeModel(model), { graphOptimization: 'disabled', threads: 1 })
  try {
    const dims = [tuning.labels.length, 30]
    const outputs = await session.run({ input: { type: 'float32', dims, data: tuning.features } })
    return Array.from(outputs['logits']?.data ?? [], Number)
  } finally {
    await session.release()
  }
}

function expectClose(seen: readonly number[], written: readonly number[]): void {
  const largest = Math.max(...written.map(Math.abs))
  expect(seen).toHaveLength(written.length)
  for (const [at, value] of seen.entries()) expect(Math.abs(value - (written[at] ?? 0))).toBeLessThan(largest * 1e-3)
}

/** Changes of both signs to all that is learned beside the weights. */
function moved({ trainable }: Trainee, weights: ReadonlySet<string>): Numbers {
  const random = seededRandom(5)
  const beside = trainable.filter(({ name }) => !weights.has(name))
  return new Map(
    beside.map(({ name, dims }) => [
      name,
      Float32Array.from({ length: elementCount(dims) }, () => (random() < 0.5 ? -1 : 1) * (0.1 + 0.2 * random())),
    ]),
  )
}

describe.each([true, false])('quantization-aware training, scales per channel: %s', (perChannel) => {
  const options = { ...OPTIONS, weights: { ...OPTIONS.weights, perChannel } }

  it('sees the model as it will be exported', async () => {
    const model = await untrainedModel()
    const { trainee, exported } = quantizationAware(model, options, await calibrated(model), GIVEN)
    expectClose(await scoresOf(trainee.model), await scoresOf(exported(new Map())))
  })

  it.each(['uint8', 'int8'] as const)(
    'sees learned scales and %s ranges as they will be exported',
    async (activations) => {
      const model = await untrainedModel()
      const ranges = await calibrated(model)
      const { trainee, exported } = quantizationAware(model, { ...options, activations }, ranges, LEARNED)
      const changes = moved(trainee, new Set(model.graph.initializers.keys()))
      expect(changes.size).toBeGreaterThan(5)
      expectClose(await scoresOf(withWeights(trainee.model, changes)), await scoresOf(exported(changes)))
      expect(await scoresOf(exported(changes))).not.toEqual(await scoresOf(exported(new Map())))
    },
  )

  it('learns through the rounding, and what it reports is what the exported model scores', async () => {
    const model = await untrainedModel()
    const { trainee, exported } = quantizationAware(model, options, await calibrated(model), GIVEN)
    const { tuning } = await breastCancer()
    const judge = judgeOn(tuning)
    const ports = await portsOf({ judge: (weights) => judge(exported(weights)) })
    const trained = await train(trainee, SMALL_PLAN, ports, signal)
    expect(trained.bestScore).toBeGreaterThan(0.93)
    expect(trained.initialScore).toBeLessThan(0.85)
    const losses = trained.history.flatMap(({ loss }) => (loss === null ? [] : [loss]))
    expect(losses.at(-1)).toBeLessThan((losses[0] ?? 0) / 2)
    expect(await judge(exported(trained.weights))).toBe(trained.bestScore)
  })
})

describe('pressure on weights that are rounded on their way', () => {
  it('empties channels as it does in float', async () => {
    const model = await untrainedModel()
    const penalties = [{ kind: 'group-lasso' as const, strength: 0.05, spared: 0.5 }]
    const { trainee } = quantizationAware(model, OPTIONS, await calibrated(model), { ...GIVEN, penalties })
    const { weights } = await train(trainee, { ...SMALL_PLAN, penalties }, await portsOf(), signal)
    const removable = trainee.trainable.filter((weight) => weight.removable !== undefined)
    expect(removable.length).toBeGreaterThan(2)
    for (const { name, dims } of removable) {
      const [rows = 1] = dims
      const values = weights.get(name) ?? new Float32Array()
      const length = values.length / rows
      const starts = Array.from({ length: rows }, (_, row) => row * length)
      const isEmpty = (start: number) => values.subarray(start, start + length).every((value) => value === 0)
      expect(starts.filter(isEmpty).length, name).toBe(rows / 2)
    }
  })
})

describe('what is learned beside the weights', () => {
  const besides = async (learning: Parameters<typeof quantizationAware>[3]): Promise<readonly string[]> => {
    const model = await untrainedModel()
    const { trainee } = quantizationAware(model, OPTIONS, await calibrated(model), learning)
    return trainee.trainable.flatMap(({ name }) => (name.endsWith('/change') ? [name.replace('/change', '')] : []))
  }

  it('is nothing where scales follow the weights and ranges are frozen', async () => {
    expect(await besides(GIVEN)).toEqual([])
  })

  it('is a scale for each layer, and for each range a scale, and an offset where no Relu binds it', async () => {
    const scales = await besides({ ...LEARNED, activationRanges: 'frozen' })
    const ranges = await besides({ ...LEARNED, weightScales: 'from-weights' })
    expect(scales.every((name) => name.endsWith('/scale'))).toBe(true)
    expect(ranges.filter((name) => name.endsWith('/offset'))).toEqual(['/Mul_output_0/offset'])
    expect(ranges.filter((name) => name.endsWith('/scale'))).toHaveLength(ranges.length - 1)
    expect(await besides(LEARNED)).toEqual([...scales, ...ranges])
  })

  it('is only what the layers have that are trained', async () => {
    const scope = { kind: 'last-layers', layers: 1 } as const
    const [all, last] = [await besides(LEARNED), await besides({ ...LEARNED, scope })]
    expect(last.length).toBeLessThan(all.length / 2)
    expect(all).toEqual(expect.arrayContaining([...last]))
    expect(all).toContain('/Mul_output_0/scale')
    expect(last).not.toContain('/Mul_output_0/scale')
  })
})
