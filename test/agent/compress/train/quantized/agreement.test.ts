import { encodeModel, type Model } from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import { collectRanges } from '../../../../../agent/compress/calibration/collect.ts'
import { foldBatchNorm } from '../../../../../agent/compress/fold-batch-norm.ts'
import { quantizeStatic } from '../../../../../agent/compress/quantize-static/quantize-static.ts'
import { quantizationAware } from '../../../../../agent/compress/train/quantized/quantization-aware.ts'
import { train } from '../../../../../agent/compress/train/train.ts'
import type { TrainingData } from '../../../../../agent/compress/train/training-data.ts'
import { withWeights } from '../../../../../agent/compress/train/with-weights.ts'
import { batchOf, calibrationOn, demoModel, fashionMnist } from '../../support/real-models.ts'
import { openSession } from '../../support/runtime.ts'
import { SMALL_PLAN } from '../support/breast-cancer-training.ts'

const IMAGES = fashionMnist()
const CALIBRATION = 20
/** Rows to judge by, and after them rows to train with. */
const JUDGED = { from: 1000, to: 2000 }
const signal = new AbortController().signal
const OPTIONS = {
  activations: 'uint8',
  weights: { type: 'int8', perChannel: true, reducedRange: false },
  exclude: [],
} as const

/** Batches of neighbours. */
const training: TrainingData = {
  count: 100,
  hasLabels: true,
  feeds: async ([first = 0, ...others]) => batchOf(IMAGES, JUDGED.to + first, JUDGED.to + first + 1 + others.length),
  labels: async ([first = 0, ...others]) =>
    Float64Array.from(IMAGES.labels.subarray(JUDGED.to + first, JUDGED.to + first + 1 + others.length)),
}

/** Right answers among the rows to judge by, as the runtime runs what it makes of the file. */
async function rightOf(model: Model): Promise<number> {
  const session = await openSession(encodeModel(model), { graphOptimization: 'all', threads: 1 })
  let right = 0
  try {
    for (let from = JUDGED.from; from < JUDGED.to; from += 100) {
      const [scores] = Object.values(await session.run(batchOf(IMAGES, from, from + 100)))
      for (let row = 0; row < 100; row++) {
        const own = Array.from({ length: 10 }, (_, at) => Number(scores?.data[10 * row + at]))
        if (own.indexOf(Math.max(...own)) === IMAGES.labels[from + row]) right += 1
      }
    }
    return right
  } finally {
    await session.release()
  }
}

describe('a real network trained for quantization', () => {
  it('scores in the graph that is trained what it scores in the file, to a tenth of a point', async () => {
    const model = foldBatchNorm(demoModel('fashion-mobilenetv2')).model
    const { prepared, observe } = quantizeStatic(model, OPTIONS)
    const ranges = await collectRanges({
      model: prepared,
      tensors: observe,
      samples: CALIBRATION,
      source: calibrationOn(IMAGES, CALIBRATION),
      openSession,
      threads: 1,
      signal,
      method: { method: 'minmax' },
      integers: { min: 0, max: 255 },
      onProgress: () => undefined,
    })
    const { trainee, exported } = quantizationAware(model, OPTIONS, ranges, {
      scope: { kind: 'all' },
      optimizer: 'sgd',
      weightScales: 'learned',
      activationRanges: 'learned',
    })
    let score = 0
    const trained = await train(
      trainee,
      { ...SMALL_PLAN, updates: 3, evaluateEvery: 3, batch: 8, learningRate: 0.002 },
      // Later weights count as better.
      { data: training, judge: async () => score++, openSession, threads: 1, monotonicNow: () => 0 },
      signal,
    )
    expect(trained.bestUpdate).toBe(3)
    const seen = await rightOf(withWeights(trainee.model, trained.weights))
    const written = await rightOf(exported(trained.weights))
    expect(written).toBeGreaterThan(900)
    expect(Math.abs(seen - written)).toBeLessThanOrEqual((JUDGED.to - JUDGED.from) / 1000)
  })
})
