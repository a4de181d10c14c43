import { type AffineParams, quantizeInto } from './affine.ts'

/** A quarter of the int32 range: leaves room for the products that the kernel adds to the bias. */
const BIAS_LIMIT = 2 ** 30
const INT32 = { min: -(2 ** 31), max: 2 ** 31 - 1 }

/**
 * Smallest weight scale of each output channel for which the bias, which has no scale but `inputScale · weightScale`,
 * stays within int32. Dead and pruned channels have tiny weights beside a normal bias, and would saturate.
 *
 * `inputScales`: of every convolution or product that uses these weights, with its bias.
 */
export function minimalWeightScales(
  channels: number,
  uses: readonly { readonly inputScale: number; readonly bias: Float32Array | undefined }[],
): readonly number[] {
  return Array.from({ length: channels }, (_, channel) => {
    const needed = uses.map(({ inputScale, bias }) => Math.abs(bias?.[channel] ?? 0) / (inputScale * BIAS_LIMIT))
    const normal = uses.map(({ inputScale }) => 2 ** -100 / inputScale)
    return Math.fround(Math.max(FLOOR, ...needed, ...normal))
  })
}

/** Below this a weight scale means a channel without weights. */
const FLOOR = 2 ** -60

/** Bias as int32 with the scale of each channel's accumulator (one in all for weights quantized as a whole). */
export function quantizeBias(
  bias: Float32Array,
  inputScale: number,
  weightParams: readonly AffineParams[],
): { readonly values: Int32Array; readonly params: readonly AffineParams[] } {
  const values = new Int32Array(bias.length)
  const params = weightParams.map(({ scale }) => ({ scale: Math.fround(inputScale * scale), zeroPoint: 0 }))
  for (let channel = 0; channel < bias.length; channel++) {
    const own = params[params.length === 1 ? 0 : channel]
    if (own === undefined) throw new RangeError(`${params.length} scales do not fit ${bias.length} biases`)
    quantizeInto(values, bias, own, INT32, channel, channel + 1)
  }
  return { values, params }
}
