/** Largest finite float16. */
export const HALF_MAX = 65504

const bits = new Uint32Array(1)
const float = new Float32Array(bits.buffer)

/** IEEE 754 binary16 bits of float32 values: to nearest, ties to even. Finite values beyond its range saturate, infinities stay. */
export function toHalfBits(values: Float32Array): Uint16Array {
  const halves = new Uint16Array(values.length)
  for (let index = 0; index < values.length; index++) {
    const value = values[index] ?? 0
    if (Number.isFinite(value)) halves[index] = halfBitsOf(Math.min(HALF_MAX, Math.max(-HALF_MAX, value)))
    else halves[index] = Number.isNaN(value) ? 0x7e00 : value > 0 ? 0x7c00 : 0xfc00
  }
  return halves
}

function halfBitsOf(value: number): number {
  float[0] = value
  const [word = 0] = bits
  const sign = (word >>> 16) & 0x8000
  const magnitude = word & 0x7fffffff
  // Below 2^-14 float16 counts in steps of 2^-24, all of which float64 holds exactly.
  if (magnitude < 0x38800000) return sign | roundedToEven(Math.abs(value) * 2 ** 24)
  const rebased = magnitude - 0x38000000
  const half = rebased >>> 13
  const rest = rebased & 0x1fff
  return sign | (half + (rest > 0x1000 || (rest === 0x1000 && (half & 1) === 1) ? 1 : 0))
}

function roundedToEven(value: number): number {
  const floor = Math.floor(value)
  const rest = value - floor
  return rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor
}
