import { asFloat32, type Tensor } from '@edgefit/shared/onnx'
import { roundHalfEven } from '../affine.ts'
import { refuseNotFinite } from '../quantize-weights.ts'
import { isUp, type RoundUp } from '../rounding/roundings.ts'

export interface BlockFormat {
  readonly bits: 4 | 8
  /** Weights that share a scale: a power of two from 16 on. */
  readonly blockSize: number
  /** Zero point in the middle, and so not stored; else one of their own for each block. */
  readonly symmetric: boolean
}

/**
 * `weight ≈ (value - zeroPoint) · scale`, in blocks along the inputs of one output.
 *
 * | name       | shape             | range            |                                                  |
 * | ---------- | ----------------- | ---------------- | ------------------------------------------------ |
 * | values     | [outputs, inputs] | [0, 2^bits)      | one a byte, row-major                            |
 * | scales     | [outputs, blocks] | not 0            | negative where the largest weight is positive, if symmetric |
 * | zeroPoints | [outputs, blocks] | [0, 2^bits)      | one a byte; 2^(bits-1) throughout if symmetric   |
 */
export interface BlockwiseWeights {
  readonly outputs: number
  readonly inputs: number
  readonly blocks: number
  readonly values: Uint8Array
  readonly scales: Float32Array
  readonly zeroPoints: Uint8Array
}

/**
 * Rounds a FLOAT matrix to `bits` in blocks, to nearest: what onnxruntime's own weight-only quantizer computes.
 *
 * Symmetric: the weight furthest from 0 takes the one integer that has no opposite, which makes use of the whole range
 * (`MlasQuantizeBlockwise`). `outputAxis`: 1 for [inputs, outputs], 0 for the transpose.
 * `roundUp`: which way each weight goes, in steps; a negative scale turns that round.
 *
 * @throws EdgefitError MODEL_INVALID naming the tensor when a weight is not finite.
 */
export function quantizeBlocks(
  weights: Tensor,
  outputAxis: 0 | 1,
  format: BlockFormat,
  roundUp?: RoundUp,
): BlockwiseWeights {
  refuseNotFinite(weights)
  const source = asFloat32(weights)
  const [rows = 0, columns = 0] = weights.dims
  const [inputs, outputs] = outputAxis === 1 ? [rows, columns] : [columns, rows]
  const placeOf = (output: number, input: number): number =>
    outputAxis === 1 ? input * columns + output : output * columns + input
  const at = (output: number, input: number): number => source[placeOf(output, input)] ?? 0
  const rounded = (steps: number, output: number, input: number): number => {
    if (roundUp === undefined) return roundHalfEven(steps)
    return isUp(roundUp, placeOf(output, input)) ? Math.ceil(steps) : Math.floor(steps)
  }
  const blocks = Math.ceil(inputs / format.blockSize)
  const largest = 2 ** format.bits - 1
  const values = new Uint8Array(outputs * inputs)
  const scales = new Float32Array(outputs * blocks)
  const zeroPoints = new Uint8Array(outputs * blocks)

  for (let output = 0; output < outputs; output++) {
    for (let block = 0; block < blocks; block++) {
      const start = block * format.blockSize
      const end = Math.min(inputs, start + format.blockSize)
      let [min, max] = [0, 0]
      for (let input = start; input < end; input++) {
        min = Math.min(min, at(output, input))
        max = Math.max(max, at(output, input))
      }
      const { scale, zeroPoint } = format.symmetric ? symmetric(min, max, format.bits) : asymmetric(min, max, largest)
      scales[output * blocks + block] = scale
      zeroPoints[output * blocks + block] = zeroPoint
      for (let input = start; input < end; input++) {
        const step = rounded(Math.fround(at(output, input) / scale), output, input) + zeroPoint
        values[output * inputs + input] = Math.min(largest, Math.max(0, step))
      }
    }
  }
  return { outputs, inputs, blocks, values, scales, zeroPoints }
}

/** What stands for the weights after rounding, laid out as they were. */
export function realOfBlocks(
  { inputs, outputs, blocks, values, scales, zeroPoints }: BlockwiseWeights,
  outputAxis: 0 | 1,
  blockSize: number,
): Float32Array {
  const real = new Float32Array(values.length)
  for (let output = 0; output < outputs; output++) {
    for (let input = 0; input < inputs; input++) {
      const block = output * blocks + Math.floor(input / blockSize)
      const steps = (values[output * inputs + input] ?? 0) - (zeroPoints[block] ?? 0)
      real[outputAxis === 1 ? input * outputs + output : output * inputs + input] = steps * (scales[block] ?? 1)
    }
  }
  return real
}

function symmetric(min: number, max: number, bits: number) {
  const middle = 2 ** (bits - 1)
  const extreme = max > -min ? max : min
  return { scale: usable(Math.fround(extreme / -middle)), zeroPoint: middle }
}

function asymmetric(min: number, max: number, largest: number) {
  const scale = usable(Math.fround((max - min) / largest))
  return { scale, zeroPoint: Math.min(largest, Math.max(0, roundHalfEven(-min / scale))) }
}

/** Of a block of zeros, or of numbers that a float32 scale cannot tell from 0, nothing is left. */
function usable(scale: number): number {
  return Math.abs(scale) < 2 ** -126 ? 1 : scale
}

/** Two values a byte, the first in the low bits; the odd one out alone in the last byte. */
export function packNibbles(values: Uint8Array): Uint8Array {
  const packed = new Uint8Array(Math.ceil(values.length / 2))
  for (const [index, value] of values.entries()) {
    packed[index >> 1] = (packed[index >> 1] ?? 0) | ((value & 15) << (4 * (index & 1)))
  }
  return packed
}
