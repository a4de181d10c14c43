import { asFloat32, floatTensor } from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import { packNibbles, quantizeBlocks } from '../../../../agent/compress/weight-only/quantize-blocks.ts'
import { randomTensor } from '../support/graphs.ts'

const FORMATS = [
  { bits: 4, blockSize: 16, symmetric: true },
  { bits: 4, blockSize: 16, symmetric: false },
  { bits: 8, blockSize: 32, symmetric: true },
  { bits: 8, blockSize: 32, symmetric: false },
] as const

describe('blocks of weights', () => {
  it('by hand: the furthest weight takes the integer without an opposite', () => {
    const weights = floatTensor('w', [1, 4], Float32Array.of(-1, 0, 2, 4))
    const format = { bits: 4, blockSize: 16, symmetric: true } as const
    const { values, scales, zeroPoints } = quantizeBlocks(weights, 0, format)
    expect([...scales]).toEqual([-0.5])
    expect([...zeroPoints]).toEqual([8])
    expect([...values]).toEqual([10, 8, 4, 0])
  })

  it('by hand: with a zero point of its own the whole range is used', () => {
    const weights = floatTensor('w', [4, 1], Float32Array.of(-5, 0, 2.4, 10))
    const format = { bits: 4, blockSize: 16, symmetric: false } as const
    const { values, scales, zeroPoints } = quantizeBlocks(weights, 1, format)
    expect([...scales]).toEqual([1])
    expect([...zeroPoints]).toEqual([5])
    expect([...values]).toEqual([0, 5, 7, 15])
  })

  it.each(FORMATS)('come back within half a step, whichever way they lie: %o', (format) => {
    const weights = randomTensor('w', [40, 6], 3)
    const source = asFloat32(weights)
    const { values, scales, zeroPoints, inputs, outputs, blocks } = quantizeBlocks(weights, 1, format)
    expect([inputs, outputs, blocks]).toEqual([40, 6, Math.ceil(40 / format.blockSize)])
    for (let output = 0; output < outputs; output++) {
      for (let input = 0; input < inputs; input++) {
        const block = output * blocks + Math.floor(input / format.blockSize)
        const scale = scales[block] ?? 0
        const back = ((values[output * inputs + input] ?? 0) - (zeroPoints[block] ?? 0)) * scale
        const error = Math.abs(back - (source[input * outputs + output] ?? 0))
        // An opposite as large as the largest is one step beyond the range; a rounded zero point costs half a step.
        expect(error).toBeLessThanOrEqual(Math.abs(scale) * 1.001)
      }
    }
    const transposed = new Float32Array(240).map((_, at) => source[(at % 40) * 6 + Math.floor(at / 40)] ?? 0)
    expect(quantizeBlocks(floatTensor('t', [6, 40], transposed), 0, format).values).toEqual(values)
  })

  it('of nothing but zeros are zeros', () => {
    const weights = floatTensor('w', [16, 1], new Float32Array(16))
    for (const format of FORMATS) {
      const { values, scales, zeroPoints } = quantizeBlocks(weights, 1, format)
      expect([...scales]).toEqual([1])
      expect(new Set(values)).toEqual(new Set(zeroPoints))
    }
  })

  it('refuse weights that are not finite', () => {
    const weights = floatTensor('w', [2, 1], Float32Array.of(1, Number.NaN))
    expect(() => quantizeBlocks(weights, 1, FORMATS[0])).toThrow(expect.objectContaining({ code: 'MODEL_INVALID' }))
  })

  it('pack two to a byte, the first low', () => {
    expect([...packNibbles(Uint8Array.of(1, 2, 15))]).toEqual([0x21, 0x0f])
    expect([...packNibbles(Uint8Array.of(-1, -8))]).toEqual([0x8f])
  })
})
