import { encodeModel, type Model } from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import type { Interval } from '../../../../../agent/compress/affine.ts'
import { collectRanges } from '../../../../../agent/compress/calibration/collect.ts'
import { quantizeStatic } from '../../../../../agent/compress/quantize-static/quantize-static.ts'
import { quantizationAware } from '../../../../../agent/compress/train/quantized/quantization-aware.ts'
import { train } from '../../../../../agent/compress/train/train.ts'
import { openSession } from '../../support/runtime.ts'
import { breastCancer, judgeOn, portsOf, SMALL_PLAN, untrainedModel } from '../support/breast-cancer-training.ts'

const signal = new AbortController().signal
const OPTIONS = {
  activations: 'uint8',
  weights: { type: 'int8', perChannel: true, reducedRange: false },
  exclude: [],
} as const

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

describe.each([true, false])('quantization-aware training, scales per channel: %s', (perChannel) => {
  const options = { ...OPTIONS, weights: { ...OPTIONS.weights, perChannel } }

  it('sees the model as it will be exported', async () => {
    const model = await untrainedModel()
    const { trainee, exported } = quantizationAware(model, options, await calibrated(model), { kind: 'all' })
    const seen = await scoresOf(trainee.model)
    const written = await scoresOf(exported(new Map()))
    const largest = Math.max(...written.map(Math.abs))
    expect(seen).toHaveLength(written.length)
    for (const [at, value] of seen.entries()) expect(Math.abs(value - (written[at] ?? 0))).toBeLessThan(largest * 1e-3)
  })

  it('learns through the rounding, and what it reports is what the exported model scores', async () => {
    const model = await untrainedModel()
    const { trainee, exported } = quantizationAware(model, options, await calibrated(model), { kind: 'all' })
    const { tuning } = await breastCancer()
    const judge = judgeOn(tuning)
    const losses: number[] = []
    const ports = await portsOf({
      judge: (weights) => judge(exported(weights)),
      onProgress: ({ loss }) => losses.push(loss),
    })
    const trained = await train(trainee, SMALL_PLAN, ports, signal)
    expect(trained.bestScore).toBeGreaterThan(0.93)
    expect(trained.initialScore).toBeLessThan(0.85)
    expect(losses.at(-1)).toBeLessThan((losses[0] ?? 0) / 2)
    expect(await judge(exported(trained.weights))).toBe(trained.bestScore)
  })
})
