import { elementCount, encodeModel, intValue, type Model } from '@edgefit/shared/onnx'
import { seededRandom } from '@edgefit/shared/stats'
import { describe, expect, it } from 'vitest'
import { weightsOnlyAware } from '../../../../../agent/compress/train/quantized/weights-only-aware.ts'
import type { Numbers } from '../../../../../agent/compress/train/run-step.ts'
import { type Trainee, train } from '../../../../../agent/compress/train/train.ts'
import { withWeights } from '../../../../../agent/compress/train/with-weights.ts'
import { modelOf, op, randomTensor, randomValues } from '../../support/graphs.ts'
import { float32, openSession } from '../../support/runtime.ts'
import { breastCancer, judgeOn, portsOf, SMALL_PLAN, untrainedModel } from '../support/breast-cancer-training.ts'

const GIVEN = { scope: { kind: 'all' }, optimizer: 'adam', weightScales: 'from-weights' } as const
const LEARNED = { ...GIVEN, weightScales: 'learned' } as const

/** 40 inputs, which blocks of 16 do not fill; one matrix is transposed, one is read twice. */
const NETWORK = modelOf({
  inputs: { x: ['n', 40] },
  outputs: ['y', 'z'],
  nodes: [
    op('Gemm', 'x turned bias -> a', { transB: intValue(1) }),
    op('Relu', 'a -> b'),
    op('MatMul', 'b w -> y'),
    op('MatMul', 'x again -> c'),
    op('MatMul', 'c w -> z'),
  ],
  constants: [
    randomTensor('turned', [24, 40], 1, 0.3),
    randomTensor('bias', [24], 2, 0.3),
    randomTensor('w', [24, 6], 3, 0.3),
    randomTensor('again', [40, 24], 4, 0.3),
  ],
})

const OPTIONS = { form: 'dequantize', exclude: [], blockSize: 16 } as const
const FORMATS = [4, 8].flatMap((bits) => [true, false].map((symmetric) => ({ bits: bits as 4 | 8, symmetric })))

/** By the graph as it is written. */
async function outputsOf(model: Model): Promise<readonly number[]> {
  const session = await openSession(encodeModel(model), { graphOptimization: 'disabled', threads: 1 })
  try {
    const outputs = await session.run({ x: float32([9, 40], randomValues(360, 9)) })
    return Object.values(outputs).flatMap(({ data }) => Array.from(data, Number))
  } finally {
    await session.release()
  }
}

function expectClose(seen: readonly number[], written: readonly number[]): void {
  const largest = Math.max(...written.map(Math.abs))
  expect(seen).toHaveLength(written.length)
  for (const [at, value] of seen.entries()) expect(Math.abs(value - (written[at] ?? 0))).toBeLessThan(largest * 1e-5)
}

/** Changes of both signs to all scales. */
function moved({ trainable }: Trainee): Numbers {
  const random = seededRandom(5)
  const scales = trainable.filter(({ name }) => !NETWORK.graph.initializers.has(name))
  return new Map(
    scales.map(({ name, dims }) => [
      name,
      Float32Array.from({ length: elementCount(dims) }, () => (random() - 0.7) * 0.6),
    ]),
  )
}

describe.each(FORMATS)('training for weights of $bits bits, symmetric: $symmetric', (format) => {
  const options = { ...OPTIONS, ...format }

  it('sees the model as it will be exported', async () => {
    const { trainee, exported } = weightsOnlyAware(NETWORK, options, GIVEN)
    const written = await outputsOf(exported(new Map()))
    expectClose(await outputsOf(trainee.model), written)
    expect(written).not.toEqual(await outputsOf(NETWORK))
  })

  it('sees learned scales as they will be exported', async () => {
    const { trainee, exported } = weightsOnlyAware(NETWORK, options, LEARNED)
    const changes = moved(trainee)
    expect(changes.size).toBe(3)
    expectClose(await outputsOf(withWeights(trainee.model, changes)), await outputsOf(exported(changes)))
    expectClose(await outputsOf(trainee.model), await outputsOf(exported(new Map())))
  })
})

describe.each([GIVEN, LEARNED])('training for weights of 4 bits, scales $weightScales', (learning) => {
  it('learns through the rounding, and what it reports is what the exported model scores', async () => {
    const options = { ...OPTIONS, form: 'matmulnbits', bits: 4, symmetric: true } as const
    const { trainee, exported } = weightsOnlyAware(await untrainedModel(), options, learning)
    const judge = judgeOn((await breastCancer()).tuning)
    const plan = { ...SMALL_PLAN, optimizer: ADAM, learningRate: 0.01 }
    const ports = await portsOf({ judge: (weights) => judge(exported(weights)) })
    const trained = await train(trainee, plan, ports, new AbortController().signal)
    expect(trained.initialScore).toBeLessThan(0.85)
    expect(trained.bestScore).toBeGreaterThan(0.93)
    expect(await judge(exported(trained.weights))).toBe(trained.bestScore)
    expect(await judge(withWeights(trainee.model, trained.weights))).toBeCloseTo(trained.bestScore, 1)
  })
})

const ADAM = { kind: 'adam', beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0 } as const
