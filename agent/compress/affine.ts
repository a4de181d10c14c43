/**
 * Affine quantization, bit for bit as onnxruntime's kernels and quantization tool compute it: `x ≈ (q - zeroPoint) · scale`.
 *
 * Formulas: `compute_scale_zp` of onnxruntime's quant_utils.py; QuantizeLinear of the ONNX specification.
 */
export type QuantizedType = 'int8' | 'uint8'

/** Smallest and largest value, of real numbers or of integers. */
export interface Interval {
  readonly min: number
  readonly max: number
}

export interface AffineParams {
  /** A float32 value above 0, in units of the real values per step. */
  readonly scale: number
  readonly zeroPoint: number
}

/** All values of the type. */
export const FULL_RANGE: Readonly<Record<QuantizedType, Interval>> = {
  int8: { min: -128, max: 127 },
  uint8: { min: 0, max: 255 },
}

/**
 * Integers a weight may take. int8 weights are symmetric around 0, so -128 is not used. `reducedRange` leaves out one
 * bit, for CPUs whose multiply-add saturates at 16 bits.
 */
export function weightRange(type: QuantizedType, reducedRange: boolean): Interval {
  if (type === 'uint8') return { min: 0, max: reducedRange ? 127 : 255 }
  return reducedRange ? { min: -64, max: 64 } : { min: -127, max: 127 }
}

/** Smallest normal float32: below it a scale would lose bits. */
const FLOAT32_TINY = 2 ** -126

/**
 * Scale and zero point that cover `real`, widened to hold 0, which quantization must represent exactly.
 *
 * A range of nothing but 0 gets scale 1 and the lowest integer as zero point, so that a Relu before it stays redundant
 * (onnxruntime's tool takes 0 there).
 */
export function asymmetricParams(real: Interval, integers: Interval): AffineParams {
  const min = Math.min(real.min, 0)
  const max = Math.max(real.max, 0)
  const scale = (max - min) / (integers.max - integers.min)
  if (scale < FLOAT32_TINY) return { scale: 1, zeroPoint: integers.min }
  return { scale: Math.fround(scale), zeroPoint: roundHalfEven(integers.min - min / scale) }
}

/**
 * Scale for values up to `maxAbs` either side of a zero point in the middle of `integers`, at least `minScale`; 1 when
 * that leaves nothing.
 */
export function symmetricParams(maxAbs: number, integers: Interval, minScale = 0): AffineParams {
  const scale = Math.max((2 * maxAbs) / (integers.max - integers.min), minScale)
  const zeroPoint = roundHalfEven((integers.min + integers.max) / 2)
  return scale < FLOAT32_TINY ? { scale: 1, zeroPoint } : { scale: Math.fround(scale), zeroPoint }
}

/**
 * Shrinks `params` by as little as makes every integer stand for a value within `bounds`: the runtime
 * then drops a Clip to those bounds that comes before the quantization. `undefined` when no scale can do it.
 */
export function fitWithin(params: AffineParams, integers: Interval, bounds: Interval): AffineParams | undefined {
  if (bounds.min > 0 || bounds.max < 0) return undefined
  const below = params.zeroPoint - integers.min
  const above = integers.max - params.zeroPoint
  let scale = params.scale
  if (below > 0) scale = Math.min(scale, bounds.min / -below)
  if (above > 0) scale = Math.min(scale, bounds.max / above)
  if (!(scale >= FLOAT32_TINY)) return undefined
  scale = Math.fround(scale)
  // The runtime multiplies in float32, and both roundings may end just outside.
  while (Math.fround(scale * -below) < bounds.min || Math.fround(scale * above) > bounds.max) scale = nextBelow(scale)
  return { scale, zeroPoint: params.zeroPoint }
}

/** `QuantizeLinear` of `values[start..end)` to the same places of `into`: to nearest, ties to even, saturating. Finite values only. */
export function quantizeInto(
  into: Int8Array | Uint8Array | Int32Array,
  values: Float32Array,
  { scale, zeroPoint }: AffineParams,
  integers: Interval,
  start = 0,
  end = values.length,
): void {
  const low = integers.min - zeroPoint
  const high = integers.max - zeroPoint
  for (let index = start; index < end; index++) {
    // A quotient of float32s rounded twice, to double and then to float32, is still rounded right.
    const steps = Math.min(high, Math.max(low, Math.fround((values[index] ?? 0) / scale)))
    into[index] = roundHalfEven(steps) + zeroPoint
  }
}

/** As {@link quantizeInto}, but to the step above where `isUp` says so of the place, and to the one below elsewhere. */
export function roundInto(
  into: Int8Array | Uint8Array,
  values: Float32Array,
  { scale, zeroPoint }: AffineParams,
  integers: Interval,
  isUp: (index: number) => boolean,
  start: number,
  end: number,
): void {
  for (let index = start; index < end; index++) {
    const steps = Math.fround((values[index] ?? 0) / scale)
    const step = (isUp(index) ? Math.ceil(steps) : Math.floor(steps)) + zeroPoint
    into[index] = Math.min(integers.max, Math.max(integers.min, step))
  }
}

/** `DequantizeLinear` of one integer. */
export function dequantize(q: number, { scale, zeroPoint }: AffineParams): number {
  return Math.fround((q - zeroPoint) * scale)
}

/** Exact for magnitudes below 2^51. */
export function roundHalfEven(value: number): number {
  // Near 1.5 · 2^52 doubles are whole numbers: adding rounds as the hardware does, to nearest with ties to even.
  return value + ROUNDER - ROUNDER
}

const ROUNDER = 1.5 * 2 ** 52

const bits = new Uint32Array(1)
const float = new Float32Array(bits.buffer)

/** The float32 before a positive one. */
function nextBelow(value: number): number {
  float[0] = value
  bits[0] = (bits[0] ?? 0) - 1
  return float[0]
}
