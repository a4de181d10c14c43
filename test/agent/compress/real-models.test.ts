import { readFileSync } from 'node:fs'
import type { Pass } from '@edgefit/shared/model'
import { encodeModel, type Model } from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import { buildVariant, type CalibrationSource, type FeedTensor } from '../../../agent/compress/index.ts'
import { randomValues } from './support/graphs.ts'
import {
  batchOf,
  breastCancer,
  breastCancerModel,
  calibrationOn,
  demoModel,
  fashionMnist,
  hasSharedModels,
  intents,
  keywords,
  pneumonia,
  type Samples,
  sharedModel,
  sharedPath,
} from './support/real-models.ts'
import { float32, openSession, operatorCounts, optimized } from './support/runtime.ts'

const FOLD: Pass = { pass: 'fold-batch-norm' }
const DYNAMIC: Pass = {
  pass: 'quantize-dynamic',
  weights: { type: 'int8', perChannel: true, reducedRange: false },
  exclude: [],
}

function staticPass(samples: number, percentile?: number): Pass {
  return {
    pass: 'quantize-static',
    // What this machine's kernels want; int8 is for ARM, whose choice of kernels the fusion tests check.
    activations: { type: 'uint8' },
    weights: { type: 'int8', perChannel: true, reducedRange: false },
    calibration:
      percentile === undefined ? { method: 'minmax', samples } : { method: 'percentile', percentile, samples },
    exclude: [],
  }
}

function build(source: Model, passes: readonly Pass[], calibration: CalibrationSource) {
  return buildVariant({
    source,
    recipe: {
      schemaVersion: 1,
      passes: [...passes],
      runtime: { intraOpThreads: 1, allowSpinning: false, memoryArena: true },
    },
    calibration,
    openSession,
    threads: 1,
    signal: new AbortController().signal,
  })
}

/** Share of samples `from` up to `to` whose largest output is that of their label. */
async function top1(model: Model, samples: Samples, from: number, to: number): Promise<number> {
  const session = await openSession(encodeModel(model), { graphOptimization: 'all', threads: 1 })
  let right = 0
  for (let start = from; start < to; start += 250) {
    const end = Math.min(to, start + 250)
    const [output] = Object.values(await session.run(batchOf(samples, start, end)))
    const classes = output?.dims[1] ?? 1
    for (let sample = start; sample < end; sample++) {
      const scores = Array.from({ length: classes }, (_, at) => Number(output?.data[(sample - start) * classes + at]))
      if (scores.indexOf(Math.max(...scores)) === samples.labels[sample]) right++
    }
  }
  await session.release()
  return right / (to - from)
}

interface Accuracy {
  readonly source: Model
  readonly calibration: CalibrationSource
  readonly samples: Samples
  readonly from: number
  readonly to: number
}

/** Percentage points below float, and what the runtime executes, for each list of passes. */
async function pointsLost(
  { source, calibration, samples, from, to }: Accuracy,
  ...recipes: readonly (readonly Pass[])[]
) {
  const before = await top1(source, samples, from, to)
  const results: { points: number; executed: Readonly<Record<string, number>> }[] = []
  for (const passes of recipes) {
    const { model } = await build(source, passes, calibration)
    const points = 100 * (before - (await top1(model, samples, from, to)))
    results.push({ points, executed: operatorCounts(await optimized(model)) })
  }
  return results
}

// Other work on the machine may slow these down several times.
const PATIENCE = { timeout: 120_000 }

describe('on real models, static int8 keeps accuracy and runs in integers', PATIENCE, () => {
  it('ResNet-14 on Fashion-MNIST', async () => {
    const samples = fashionMnist()
    const source = demoModel('fashion-resnet14')
    const given = { source, samples, calibration: calibrationOn(samples, 300), from: 1000, to: 5000 }

    const [result] = await pointsLost(given, [staticPass(300)])

    expect(result?.points).toBeLessThan(0.5)
    expect(result?.executed).toEqual({
      QuantizeLinear: 1,
      QLinearConv: 15,
      QLinearAdd: 6,
      QLinearGlobalAveragePool: 1,
      Flatten: 1,
      QGemm: 1,
    })
  })

  it('MobileNetV2 on Fashion-MNIST, with its 40 BatchNormalizations and Relu6', async () => {
    const samples = fashionMnist()
    const source = demoModel('fashion-mobilenetv2')
    const given = { source, samples, calibration: calibrationOn(samples, 300), from: 1000, to: 4000 }

    const results = await pointsLost(given, [FOLD, staticPass(300)], [FOLD, staticPass(300, 99.99)])

    for (const { points, executed } of results) {
      expect(points).toBeLessThan(0.5)
      expect(executed).toEqual({
        QuantizeLinear: 1,
        QLinearConv: 40,
        QLinearAdd: 7,
        QLinearGlobalAveragePool: 1,
        Flatten: 1,
        QGemm: 1,
      })
    }
  })

  it.skipIf(!hasSharedModels)('DS-CNN on keywords', async () => {
    const samples = keywords()
    const source = sharedModel('mlperf_kws_dscnn/model.onnx')
    const given = { source, samples, calibration: calibrationOn(samples, 400), from: 1000, to: 4890 }
    const [result] = await pointsLost(given, [FOLD, staticPass(400)])
    expect(result?.points).toBeLessThan(0.5)
    expect(result?.executed).toEqual({
      QuantizeLinear: 1,
      QLinearConv: 9,
      QLinearGlobalAveragePool: 1,
      Flatten: 1,
      QGemm: 1,
    })
  })

  it.skipIf(!hasSharedModels)('a small CNN on chest X-rays', async () => {
    const source = sharedModel('pneumonia_mnist/model.onnx')
    const calibration = calibrationOn(pneumonia('train'), 400)
    const given = { source, samples: pneumonia('test'), calibration, from: 0, to: 624 }
    const [result] = await pointsLost(given, [FOLD, staticPass(400)])
    expect(result?.points).toBeLessThan(0.5)
    expect(result?.executed).toEqual({
      QuantizeLinear: 1,
      QLinearConv: 7,
      QLinearGlobalAveragePool: 1,
      Flatten: 1,
      QGemm: 1,
    })
  })

  it('an MLP on medical measurements, whose standardisation stays in float', async () => {
    const source = breastCancerModel()
    const calibration = calibrationOn(breastCancer('train'), 300)
    const given = { source, samples: breastCancer('test'), calibration, from: 0, to: 171 }
    const [result] = await pointsLost(given, [staticPass(300)])
    // One of 171 samples is 0.58 points.
    expect(result?.points).toBeLessThan(1)
    expect(result?.executed).toEqual({ Sub: 1, Mul: 1, QuantizeLinear: 1, QGemm: 3 })
  })

  it.skipIf(!hasSharedModels)('a transformer on intents, statically and dynamically', async () => {
    const source = sharedModel('clinc150_transformer/model.onnx')
    const calibration = calibrationOn(intents('val'), 300)
    const given = { source, samples: intents('test'), calibration, from: 0, to: 2500 }

    const results = await pointsLost(given, [staticPass(300)], [DYNAMIC])

    for (const { points, executed } of results) {
      expect(points).toBeLessThan(0.5)
      // Of 17 products, four multiply activations by activations.
      expect((executed['MatMul'] ?? 0) + (executed['FusedMatMul'] ?? 0)).toBe(4)
      expect(executed).not.toHaveProperty('Gemm')
    }
  })

  it.skipIf(!hasSharedModels).each([
    ['mobilenet_v2', [1, 3, 224, 224], { QLinearConv: 53, QLinearAdd: 10, QLinearGlobalAveragePool: 1 }],
    ['mlperf_vww', [1, 3, 96, 96], { QLinearConv: 27, QLinearGlobalAveragePool: 1, QGemm: 1 }],
  ] satisfies [string, number[], Record<string, number>][])(
    '%s, as far as the graph goes',
    async (name, dims, expected) => {
      const batch = () => ({
        input: float32(
          dims,
          randomValues(
            dims.reduce((a, b) => a * b, 1),
            1,
          ),
        ),
      })
      const { model } = await build(sharedModel(`${name}/model.onnx`), [FOLD, staticPass(2)], { count: 2, batch })
      const executed = operatorCounts(await optimized(model))
      expect(executed).toMatchObject(expected)
      expect(executed).not.toHaveProperty('Conv')
    },
  )

  it.skipIf(!hasSharedModels).each([
    ['light_shufflenet', { QLinearConv: 49, QLinearConcat: 3, QLinearAdd: 13, QLinearAveragePool: 4, QGemm: 1 }],
    ['light_densenet121', { QLinearConv: 121, BatchNormalization: 62 }],
  ] satisfies [string, Record<string, number>][])('%s of opset 9, as far as the graph goes', async (name, expected) => {
    const source = sharedModel(`onnx_light/${name}.onnx`)
    const [input] = source.graph.inputs.filter(({ name: value }) => !source.graph.initializers.has(value))
    const values = randomValues(3 * 224 * 224, 1)
    const batch = () => ({ [input?.name ?? '']: float32([1, 3, 224, 224], values) })
    const { model } = await build(source, [FOLD, staticPass(1)], { count: 1, batch })
    const executed = operatorCounts(await optimized(model))
    expect(executed).toMatchObject(expected)
    expect(executed).not.toHaveProperty('Conv')
  })
})

describe.skipIf(!hasSharedModels)('on Silero VAD, whose LSTM lies in the branches of an If', PATIENCE, () => {
  const frame = 512

  function* frames(count: number): Generator<Float32Array> {
    const pcm = new Int16Array(Uint8Array.from(readFileSync(sharedPath('silero_vad/test.wav')).subarray(44)).buffer)
    for (let at = 0; at < count; at++) {
      yield Float32Array.from({ length: 576 }, (_, index) => (pcm[at * frame + index - 64] ?? 0) / 32768)
    }
  }

  async function speech(model: Model, count: number) {
    const session = await openSession(encodeModel(model), { graphOptimization: 'all', threads: 1 })
    const probabilities: number[] = []
    const fed: Record<string, FeedTensor>[] = []
    let state = float32([2, 1, 128], new Float32Array(256))
    for (const input of frames(count)) {
      const sr: FeedTensor = { type: 'int64', dims: [], data: BigInt64Array.of(16_000n) }
      const feeds = { input: float32([1, 576], input), state, sr }
      fed.push(feeds)
      const outputs = await session.run(feeds)
      probabilities.push(Number(outputs['output']?.data[0]))
      state = outputs['stateN'] ?? state
    }
    await session.release()
    return { probabilities, fed }
  }

  it('quantizes the convolutions outside and hears the same speech', async () => {
    const source = sharedModel('silero_vad/silero_vad_16k_op15.onnx')
    const before = await speech(source, 500)
    const calibration: CalibrationSource = { count: 100, batch: ([at = 0]) => before.fed[at * 5] ?? {} }

    const { model } = await build(source, [FOLD, staticPass(100)], calibration)

    const branches = (graph: Model['graph']) => graph.nodes.filter(({ opType }) => opType === 'If')
    expect(branches(model.graph).map(({ attributes }) => [...attributes])).toEqual(
      branches(source.graph).map(({ attributes }) => [...attributes]),
    )
    expect(operatorCounts(await optimized(model))).toMatchObject({ QLinearConv: 6, If: 3 })
    const after = await speech(model, 500)
    const disagree = after.probabilities.filter((p, at) => p > 0.5 !== (before.probabilities[at] ?? 0) > 0.5).length
    expect(disagree / 500).toBeLessThan(0.04)
  })

  it('refuses, by type, where everything lies inside', async () => {
    const source = sharedModel('silero_vad/silero_vad_op18_ifless.onnx')
    const never: CalibrationSource = { count: 1, batch: () => ({}) }
    for (const pass of [staticPass(1), DYNAMIC]) {
      await expect(build(source, [FOLD, pass], never)).rejects.toMatchObject({ code: 'MODEL_UNSUPPORTED' })
    }
  })
})
