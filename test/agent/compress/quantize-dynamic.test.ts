import { asInt8, int64Tensor, intValue, type Node, type Tensor } from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import { type DynamicOptions, quantizeDynamic } from '../../../agent/compress/quantize-dynamic.ts'
import { modelOf, op, randomTensor, randomValues } from './support/graphs.ts'
import { hasSharedModels, sharedModel } from './support/real-models.ts'
import { float32, operatorCounts, optimized, relativeError, run } from './support/runtime.ts'

const OPTIONS: DynamicOptions = { type: 'int8', perChannel: true, reducedRange: false, exclude: [] }

interface Case {
  readonly dims: readonly number[]
  readonly nodes: readonly Node[]
  readonly constants: readonly Tensor[]
  /** What the runtime makes of it. */
  readonly fused: Readonly<Record<string, number>>
}

const CASES: Readonly<Record<string, Case>> = {
  'a MatMul': {
    dims: [2, 7, 32],
    nodes: [op('MatMul', 'x w -> y')],
    constants: [randomTensor('w', [32, 16], 1)],
    fused: { DynamicQuantizeMatMul: 1 },
  },
  'a MatMul with bias': {
    dims: [2, 7, 32],
    nodes: [op('MatMul', 'x w -> m'), op('Add', 'm b -> y')],
    constants: [randomTensor('w', [32, 16], 1), randomTensor('b', [16], 2)],
    fused: { DynamicQuantizeMatMul: 1 },
  },
  'a Gemm': {
    dims: [4, 32],
    nodes: [op('Gemm', 'x w b -> y')],
    constants: [randomTensor('w', [32, 16], 1), randomTensor('b', [16], 2)],
    fused: { DynamicQuantizeMatMul: 1 },
  },
  'a Gemm with transposed weights and no bias': {
    dims: [4, 32],
    nodes: [op('Gemm', 'x w -> y', { transB: intValue(1) })],
    constants: [randomTensor('w', [16, 32], 1)],
    fused: { DynamicQuantizeMatMul: 1 },
  },
  'products of the same activation, quantized once': {
    dims: [3, 32],
    nodes: [op('MatMul', 'x w -> q'), op('MatMul', 'x v -> k'), op('Add', 'q k -> y')],
    constants: [randomTensor('w', [32, 16], 1), randomTensor('v', [32, 16], 2, 3)],
    fused: { DynamicQuantizeLinear: 1, MatMulIntegerToFloat: 2, Add: 1 },
  },
}

describe('dynamic quantization', () => {
  for (const [name, { dims, nodes, constants, fused }] of Object.entries(CASES)) {
    it.each([
      { ...OPTIONS },
      { ...OPTIONS, perChannel: false },
      { ...OPTIONS, type: 'uint8' as const },
      { ...OPTIONS, reducedRange: true },
    ])(`of ${name} runs fused and close to float, %o`, async (options) => {
      const model = modelOf({ inputs: { x: dims }, outputs: ['y'], nodes, constants })
      const feeds = {
        x: float32(
          dims,
          randomValues(
            dims.reduce((a, b) => a * b, 1),
            9,
          ),
        ),
      }

      const { model: quantized } = quantizeDynamic(model, options)

      expect(operatorCounts(await optimized(quantized))).toEqual(fused)
      const [before, after] = [await run(model, feeds), await run(quantized, feeds)]
      expect(after['y']?.dims).toEqual(before['y']?.dims)
      expect(relativeError(before['y'], after['y'])).toBeLessThan(0.02)
    })
  }

  it('stores weights that two layers share once', () => {
    const model = modelOf({
      inputs: { x: [4, 16] },
      outputs: ['y'],
      nodes: [op('MatMul', 'x w -> a'), op('MatMul', 'a w -> y')],
      constants: [randomTensor('w', [16, 16], 1)],
    })
    const { initializers } = quantizeDynamic(model, OPTIONS).model.graph
    expect([...initializers.values()].filter(({ dims }) => dims.length === 2).map(({ dataType }) => dataType)).toEqual([
      'INT8',
    ])
  })

  it('keeps 7-bit weights within 64', () => {
    const model = modelOf({
      inputs: { x: [4, 16] },
      outputs: ['y'],
      nodes: [op('MatMul', 'x w -> y')],
      constants: [randomTensor('w', [16, 16], 1)],
    })
    const { initializers } = quantizeDynamic(model, { ...OPTIONS, reducedRange: true }).model.graph
    const values = [...initializers.values()].flatMap((one) => (one.dims.length === 2 ? [...asInt8(one)] : []))
    expect(Math.max(...values.map(Math.abs))).toBe(64)
  })

  it('leaves out what it cannot or may not touch, and says why', () => {
    const model = modelOf({
      inputs: { x: [1, 4, 8, 8] },
      outputs: ['y', 'z'],
      nodes: [
        op('Conv', 'x k -> c'),
        op('MatMul', 'c c -> d'),
        op('MatMul', 'd w -> e'),
        op('MatMul', 'e w -> y'),
        op('MatMul', 'w d -> z'),
      ],
      constants: [randomTensor('k', [4, 4, 1, 1], 1), randomTensor('w', [8, 8], 2)],
    })

    const { model: quantized, notes } = quantizeDynamic(model, { ...OPTIONS, exclude: ['MatMul:e'] })

    expect(operatorCounts(quantized)).toMatchObject({ Conv: 1, MatMul: 3, MatMulInteger: 1 })
    expect(notes).toEqual([
      'Conv "Conv:c": in float, dynamic quantization makes convolutions slower',
      'MatMul "MatMul:d": in float, neither operand is constant',
      'MatMul "MatMul:e": in float, the recipe excludes it',
      expect.stringMatching(/^MatMul "MatMul:z": in float, its first operand is constant/),
    ])
  })

  it('refuses a model without matrix products, saying what it needs', () => {
    const model = modelOf({
      inputs: { x: [1, 4, 8, 8] },
      outputs: ['y'],
      nodes: [op('Conv', 'x k -> y')],
      constants: [randomTensor('k', [4, 4, 1, 1], 1)],
    })
    expect(() => quantizeDynamic(model, OPTIONS)).toThrow(
      expect.objectContaining({ code: 'MODEL_UNSUPPORTED', message: expect.stringContaining('MatMul or Gemm') }),
    )
  })

  it('refuses to exclude what is not there', () => {
    const model = modelOf({
      inputs: { x: [4, 16] },
      outputs: ['y'],
      nodes: [op('MatMul', 'x w -> y')],
      constants: [randomTensor('w', [16, 16], 1)],
    })
    expect(() => quantizeDynamic(model, { ...OPTIONS, exclude: ['MatMul:y', 'head'] })).toThrow(
      expect.objectContaining({ code: 'RECIPE_INVALID', details: { unknown: ['head'] } }),
    )
  })

  it('lifts old opsets on the way', async () => {
    const model = modelOf({
      opset: 9,
      irVersion: 4,
      inputs: { x: [4, 16] },
      outputs: ['y'],
      nodes: [op('MatMul', 'x w -> m'), op('Reshape', 'm shape -> y')],
      constants: [randomTensor('w', [16, 16], 1), int64Tensor('shape', [2], [2, 32])],
    })
    const { model: quantized } = quantizeDynamic(model, OPTIONS)
    expect(quantized.opsetImports.get('')).toBe(13)
    const feeds = { x: float32([4, 16], randomValues(64, 1)) }
    expect(relativeError((await run(model, feeds))['y'], (await run(quantized, feeds))['y'])).toBeLessThan(0.02)
  })

  it.skipIf(!hasSharedModels)('fuses all products of a transformer that have weights', async () => {
    const model = sharedModel('clinc150_transformer/model.onnx')
    const counts = operatorCounts(await optimized(quantizeDynamic(model, OPTIONS).model))
    expect((counts['DynamicQuantizeMatMul'] ?? 0) + (counts['MatMulIntegerToFloat'] ?? 0)).toBe(13)
    expect(counts).not.toHaveProperty('MatMulInteger')
  })
})
