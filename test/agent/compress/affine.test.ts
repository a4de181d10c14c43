import { floatTensor, int8Tensor, uint8Tensor } from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import {
  type AffineParams,
  asymmetricParams,
  dequantize,
  FULL_RANGE,
  fitWithin,
  type QuantizedType,
  quantizeInto,
  roundHalfEven,
  symmetricParams,
  weightRange,
} from '../../../agent/compress/affine.ts'
import { modelOf, op, randomValues } from './support/graphs.ts'
import { float32, run } from './support/runtime.ts'

const TYPES = ['uint8', 'int8'] as const

async function kernel(values: Float32Array, params: AffineParams, type: QuantizedType) {
  const zeroPoint =
    type === 'int8'
      ? int8Tensor('zp', [], Int8Array.of(params.zeroPoint))
      : uint8Tensor('zp', [], Uint8Array.of(params.zeroPoint))
  const model = modelOf({
    inputs: { x: [values.length] },
    outputs: ['back'],
    nodes: [op('QuantizeLinear', 'x scale zp -> q'), op('DequantizeLinear', 'q scale zp -> back')],
    constants: [floatTensor('scale', [], Float32Array.of(params.scale)), zeroPoint],
  })
  const withQuantized = { ...model, graph: { ...model.graph, outputs: [...model.graph.outputs, { name: 'q' }] } }
  return await run(withQuantized, { x: float32([values.length], values) }, 'disabled')
}

function quantize(values: Float32Array, params: AffineParams, type: QuantizedType): Int8Array | Uint8Array {
  const into = type === 'int8' ? new Int8Array(values.length) : new Uint8Array(values.length)
  quantizeInto(into, values, params, FULL_RANGE[type])
  return into
}

describe('quantizing and dequantizing', () => {
  it.each(TYPES)('gives the bits of the runtime kernels for %s', async (type) => {
    for (let seed = 1; seed <= 20; seed++) {
      const spread = 10 ** ((seed % 7) - 3)
      const random = randomValues(997, seed, spread)
      const params = asymmetricParams({ min: -spread * 0.6, max: spread * 0.9 }, FULL_RANGE[type])
      // Half-way points between two integers, where rounding modes differ.
      const ties = Float32Array.from({ length: 512 }, (_, at) => Math.fround((at - 256 + 0.5) * params.scale))
      const edges = Float32Array.of(0, -0, 3.4e38, -3.4e38, 1e-45, -1e-45, params.scale, -params.scale)
      const values = Float32Array.of(...random, ...ties, ...edges)

      const { q, back } = await kernel(values, params, type)

      const ours = quantize(values, params, type)
      expect(ours).toEqual(q?.data)
      expect(Float32Array.from(ours, (one) => dequantize(one, params))).toEqual(back?.data)
    }
  })

  it('rounds ties to even, on both sides of zero', () => {
    expect([0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 0.49999, 2.50001].map(roundHalfEven).map((value) => value + 0)).toEqual([
      0, 2, 2, 0, -2, -2, 0, 3,
    ])
  })

  it('comes back within half a step', () => {
    const values = randomValues(5000, 3, 2.5)
    const params = asymmetricParams({ min: -2.5, max: 2.5 }, FULL_RANGE.uint8)
    const worst = Array.from(quantize(values, params, 'uint8')).reduce(
      (error, q, at) => Math.max(error, Math.abs(dequantize(q, params) - (values[at] ?? 0))),
      0,
    )
    expect(worst).toBeLessThanOrEqual(params.scale * 0.5001)
  })
})

describe('choosing scale and zero point', () => {
  it.each([
    [{ min: -1, max: 3 }, 'uint8', 4 / 255, 64],
    [{ min: -1, max: 3 }, 'int8', 4 / 255, -64],
    [{ min: 0, max: 6 }, 'uint8', 6 / 255, 0],
    [{ min: 0, max: 6 }, 'int8', 6 / 255, -128],
    [{ min: 2, max: 6 }, 'uint8', 6 / 255, 0],
    [{ min: -6, max: -2 }, 'uint8', 6 / 255, 255],
    // -0.5 steps from the end: ties to even.
    [{ min: -0.5, max: 254.5 }, 'uint8', 1, 0],
    [{ min: -1.5, max: 253.5 }, 'uint8', 1, 2],
  ] as const)('covers %o and 0 in %s', (range, type, scale, zeroPoint) => {
    expect(asymmetricParams(range, FULL_RANGE[type])).toEqual({ scale: Math.fround(scale), zeroPoint })
  })

  it('gives a tensor of zeros a scale that nothing divides by zero with', () => {
    expect(asymmetricParams({ min: 0, max: 0 }, FULL_RANGE.uint8)).toEqual({ scale: 1, zeroPoint: 0 })
    expect(asymmetricParams({ min: -1e-40, max: 1e-40 }, FULL_RANGE.int8)).toEqual({ scale: 1, zeroPoint: -128 })
    expect(symmetricParams(0, weightRange('int8', false))).toEqual({ scale: 1, zeroPoint: 0 })
  })

  it('is symmetric for weights, with 7 bits in the reduced range', () => {
    expect(symmetricParams(2, weightRange('int8', false))).toEqual({ scale: Math.fround(2 / 127), zeroPoint: 0 })
    expect(symmetricParams(2, weightRange('int8', true))).toEqual({ scale: Math.fround(2 / 64), zeroPoint: 0 })
    expect(symmetricParams(2, weightRange('int8', false), 0.5)).toEqual({ scale: 0.5, zeroPoint: 0 })
  })
})

describe('fitting into the bounds of a Clip', () => {
  it('never lets an integer stand for a value outside', () => {
    for (let seed = 1; seed <= 300; seed++) {
      const [a = 0, b = 0, c = 0] = randomValues(3, seed, 4)
      const bounds = { min: Math.fround(Math.min(a, 0)), max: Math.fround(Math.max(b, 0.01)) }
      const integers = FULL_RANGE[seed % 2 === 0 ? 'uint8' : 'int8']
      const range = { min: Math.max(bounds.min, -Math.abs(c)), max: bounds.max }
      const params = asymmetricParams(range, integers)

      const fitted = fitWithin(params, integers, bounds)

      expect(fitted).toBeDefined()
      expect(dequantize(integers.min, fitted!)).toBeGreaterThanOrEqual(bounds.min)
      expect(dequantize(integers.max, fitted!)).toBeLessThanOrEqual(bounds.max)
      expect(fitted!.zeroPoint).toBe(params.zeroPoint)
    }
  })

  it('changes nothing where there are none', () => {
    const params = asymmetricParams({ min: -1, max: 3 }, FULL_RANGE.int8)
    expect(fitWithin(params, FULL_RANGE.int8, { min: -Infinity, max: Infinity })).toEqual(params)
  })

  it('refuses bounds that no scale can keep', () => {
    const params = asymmetricParams({ min: -1, max: 3 }, FULL_RANGE.int8)
    expect(fitWithin(params, FULL_RANGE.int8, { min: 0, max: 3 })).toBeUndefined()
    expect(fitWithin(params, FULL_RANGE.int8, { min: 1, max: 3 })).toBeUndefined()
  })
})
