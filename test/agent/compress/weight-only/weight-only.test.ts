import { encodeModel, intValue, type Model } from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import { quantizeBlocks } from '../../../../agent/compress/weight-only/quantize-blocks.ts'
import { quantizeWeightsOnly, type WeightOnlyOptions } from '../../../../agent/compress/weight-only/weight-only.ts'
import { modelOf, op, randomTensor, randomValues } from '../support/graphs.ts'
import {
  batchOf,
  breastCancer,
  breastCancerModel,
  hasSharedModels,
  intents,
  sharedModel,
} from '../support/real-models.ts'
import { float32, operatorCounts, optimized, relativeError, run } from '../support/runtime.ts'

const OPTIONS: WeightOnlyOptions = { bits: 4, blockSize: 32, symmetric: true, form: 'matmulnbits', exclude: [] }

/** `weights` as the quantized model has them, in float. */
function rounded(model: Model, options: WeightOnlyOptions): Model {
  const initializers = new Map(model.graph.initializers)
  for (const [name, axis] of [
    ['w', 1],
    ['v', 0],
  ] as const) {
    const tensor = initializers.get(name)
    if (tensor === undefined) continue
    const { values, scales, zeroPoints, inputs, outputs, blocks } = quantizeBlocks(tensor, axis, options)
    const back = new Float32Array(values.length)
    for (let output = 0; output < outputs; output++) {
      for (let input = 0; input < inputs; input++) {
        const block = output * blocks + Math.floor(input / options.blockSize)
        const value = ((values[output * inputs + input] ?? 0) - (zeroPoints[block] ?? 0)) * (scales[block] ?? 0)
        back[axis === 1 ? input * outputs + output : output * inputs + input] = value
      }
    }
    initializers.set(name, { ...tensor, data: new Uint8Array(back.buffer) })
  }
  return { ...model, graph: { ...model.graph, initializers } }
}

/** A product with bias, a product alone on three dimensions, and transposed weights. */
function network(opset: number, width = 96): Model {
  return modelOf({
    opset,
    irVersion: 10,
    inputs: { x: [3, width] },
    outputs: ['y'],
    nodes: [op('Gemm', 'x w b -> a'), op('Relu', 'a -> r'), op('Gemm', 'r v -> y', { transB: intValue(1) })],
    constants: [randomTensor('w', [width, 40], 1), randomTensor('b', [40], 2), randomTensor('v', [7, 40], 3)],
  })
}

describe('weight-only quantization', () => {
  const variants = ([4, 8] as const).flatMap((bits) =>
    [true, false].flatMap((symmetric) =>
      (['matmulnbits', 'dequantize'] as const).map((form) => ({ bits, symmetric, form })),
    ),
  )

  it.each(variants)('computes what the rounded weights give: %o', async (variant) => {
    // 96 is three whole blocks, 40 one and a part.
    for (const blockSize of [16, 32]) {
      const options = { ...OPTIONS, ...variant, blockSize }
      const model = network(21)
      const feeds = { x: float32([3, 96], randomValues(288, 9)) }

      const { model: quantized, notes } = quantizeWeightsOnly(model, options)

      expect(notes).toEqual([])
      const executed = operatorCounts(await optimized(quantized))
      expect(executed).toMatchObject({ MatMulNBits: 2, Relu: 1 })
      expect(executed).not.toHaveProperty('DequantizeLinear')
      const [expected, actual] = [await run(rounded(model, options), feeds), await run(quantized, feeds)]
      // The runtime rounds the activations to 8 bits on the way.
      expect(relativeError(expected['y'], actual['y'])).toBeLessThan(0.02)
    }
  })

  it('is not undone by a bias and a Relu that the runtime would merge first', async () => {
    const model = modelOf({
      opset: 21,
      irVersion: 10,
      inputs: { x: [1, 4, 32] },
      outputs: ['y'],
      nodes: [op('MatMul', 'x w -> m'), op('Add', 'm b -> a'), op('Relu', 'a -> r'), op('MatMul', 'r w -> y')],
      constants: [randomTensor('w', [32, 32], 1), randomTensor('b', [32], 2)],
    })
    const { model: quantized } = quantizeWeightsOnly(model, { ...OPTIONS, form: 'dequantize' })
    expect(operatorCounts(await optimized(quantized))).toEqual({ MatMulNBits: 2, Relu: 1, Sum: 1 })
  })

  it('needs no newer opset in the form of the runtime, and lifts to opset 21 for that of the standard', async () => {
    const quantized = quantizeWeightsOnly(network(11), OPTIONS).model
    expect(quantized.opsetImports.get('')).toBe(13)
    expect(operatorCounts(await optimized(quantized))).toEqual({ MatMulNBits: 2, Relu: 1 })
    for (const opset of [11, 17]) {
      const standard = quantizeWeightsOnly(network(opset), { ...OPTIONS, form: 'dequantize' }).model
      expect(standard.opsetImports.get('')).toBe(21)
      expect(operatorCounts(await optimized(standard))).toEqual({ MatMulNBits: 2, Relu: 1, Sum: 1 })
    }
  })

  it('stores weights that two layers share once, and leaves out what it may not touch', () => {
    const model = modelOf({
      inputs: { x: [1, 5, 32] },
      outputs: ['y'],
      nodes: [op('MatMul', 'x w -> a'), op('MatMul', 'a w -> b'), op('MatMul', 'b k -> c'), op('MatMul', 'c k -> y')],
      constants: [randomTensor('w', [32, 32], 1), randomTensor('k', [32, 32], 2)],
    })
    const { model: quantized, notes } = quantizeWeightsOnly(model, { ...OPTIONS, exclude: ['MatMul:y'] })
    expect(operatorCounts(quantized)).toEqual({ MatMulNBits: 3, MatMul: 1 })
    expect([...quantized.graph.initializers.values()].filter(({ dataType }) => dataType === 'UINT8')).toHaveLength(2)
    expect(notes).toEqual(['MatMul "MatMul:y": in float, the recipe excludes it'])
  })

  it('refuses a model without a constant matrix, and to exclude what is not there', () => {
    const model = modelOf({ inputs: { x: [2, 2] }, outputs: ['y'], nodes: [op('MatMul', 'x x -> y')] })
    expect(() => quantizeWeightsOnly(model, OPTIONS)).toThrow(expect.objectContaining({ code: 'MODEL_UNSUPPORTED' }))
    expect(() => quantizeWeightsOnly(network(17), { ...OPTIONS, exclude: ['head'] })).toThrow(
      expect.objectContaining({ code: 'RECIPE_INVALID' }),
    )
  })

  it('gives the same bytes again', () => {
    const bytes = () => encodeModel(quantizeWeightsOnly(network(21), { ...OPTIONS, symmetric: false }).model)
    expect(bytes()).toEqual(bytes())
  })

  it.each([4, 8] as const)('of a real classifier keeps its answers in %d bits', async (bits) => {
    const samples = breastCancer('test')
    const feeds = batchOf(samples, 0, samples.labels.length)
    const model = breastCancerModel()
    const { model: quantized } = quantizeWeightsOnly(model, { ...OPTIONS, bits })
    const [before, after] = [await run(model, feeds), await run(quantized, feeds)]
    for (const name of Object.keys(before)) {
      expect(relativeError(before[name], after[name])).toBeLessThan(bits === 4 ? 0.3 : 0.05)
    }
  })

  it.skipIf(!hasSharedModels)('takes in all products of a transformer that have weights', async () => {
    const model = sharedModel('clinc150_transformer/model.onnx')
    const { model: quantized } = quantizeWeightsOnly(model, { ...OPTIONS, bits: 8 })
    expect(operatorCounts(quantized)['MatMulNBits']).toBe(13)
    const feeds = batchOf(intents('val'), 0, 16)
    const [before, after] = [await run(model, feeds), await run(quantized, feeds)]
    const [name = ''] = Object.keys(before)
    expect(relativeError(before[name], after[name])).toBeLessThan(0.05)
  })
})
