import { floatTensor } from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import { dequantize } from '../../../agent/compress/affine.ts'
import { minimalWeightScales, quantizeBias } from '../../../agent/compress/quantize-bias.ts'
import { quantizeWeights } from '../../../agent/compress/quantize-weights.ts'
import { randomValues } from './support/graphs.ts'

const INT8 = { type: 'int8', reducedRange: false } as const

describe('quantized biases', () => {
  it('never saturate, however small the weights beside them', () => {
    const channels = 64
    // Weights from normal down to nothing at all, biases of all sizes.
    const weights = randomValues(channels * 9, 1).map((value, at) => value * 10 ** -(Math.floor(at / 9) / 2))
    weights.fill(0, 60 * 9)
    const bias = randomValues(channels, 2, 50)
    for (const inputScale of [1e-30, 1e-6, 0.02, 1, 1e4]) {
      const minScales = minimalWeightScales(channels, [{ inputScale, bias }])
      const { params } = quantizeWeights(floatTensor('w', [channels, 9], weights), { ...INT8, axis: 0, minScales })

      const quantized = quantizeBias(bias, inputScale, params)

      for (let channel = 0; channel < channels; channel++) {
        const own = quantized.params[channel]!
        expect(own.scale).toBeGreaterThan(0)
        expect(Math.abs(quantized.values[channel]!)).toBeLessThanOrEqual(2 ** 30 * 1.000001)
        const error = Math.abs(dequantize(quantized.values[channel]!, own) - bias[channel]!)
        expect(error).toBeLessThanOrEqual(own.scale / 2 + Math.abs(bias[channel]!) * 1e-6)
      }
    }
  })

  it('leave the scales of ordinary channels alone', () => {
    const weights = floatTensor('w', [2, 2], Float32Array.of(0.5, -1, 0.25, 2))
    const minScales = minimalWeightScales(2, [{ inputScale: 0.02, bias: Float32Array.of(1, -3) }])

    const guarded = quantizeWeights(weights, { ...INT8, axis: 0, minScales })

    expect(guarded).toEqual(quantizeWeights(weights, { ...INT8, axis: 0 }))
    expect(guarded.values).toEqual(Int8Array.of(64, -127, 16, 127))
  })

  it('suit every layer that shares the weights', () => {
    const small = { inputScale: 1e-9, bias: Float32Array.of(4) }
    const [together] = minimalWeightScales(1, [{ inputScale: 1, bias: Float32Array.of(4) }, small])
    expect(together).toBe(minimalWeightScales(1, [small])[0])
  })
})

describe('quantized weights', () => {
  it('have a scale per entry of the axis, wherever it is', () => {
    const weights = floatTensor('w', [2, 3], Float32Array.of(1, 20, 0, -2, 10, 0))

    const { values, params } = quantizeWeights(weights, { ...INT8, axis: 1 })

    expect(params.map(({ scale }) => scale)).toEqual([Math.fround(2 / 127), Math.fround(20 / 127), 1])
    expect(values).toEqual(Int8Array.of(64, 127, 0, -127, 64, 0))
  })

  it('use all of uint8 around a zero point of their own', () => {
    const weights = floatTensor('w', [2, 2], Float32Array.of(-1, 3, 0, 255))
    const { values, params } = quantizeWeights(weights, { type: 'uint8', reducedRange: false, axis: 0 })
    expect(params).toEqual([
      { scale: Math.fround(4 / 255), zeroPoint: 64 },
      { scale: 1, zeroPoint: 0 },
    ])
    expect(values).toEqual(Uint8Array.of(0, 255, 0, 255))
  })

  it('are refused by name when they are not numbers', () => {
    const weights = floatTensor('encoder.w', [2], Float32Array.of(1, Number.NaN))
    expect(() => quantizeWeights(weights, INT8)).toThrow(
      expect.objectContaining({ code: 'MODEL_INVALID', message: expect.stringContaining('encoder.w') }),
    )
  })
})
