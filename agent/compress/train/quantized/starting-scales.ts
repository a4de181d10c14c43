import { type Interval, roundHalfEven } from '../../affine.ts'

/** Shares of the scale given that are tried. */
const SHARES = Array.from({ length: 29 }, (_, at) => 1 - at / 40)

export interface ScalesToStart {
  readonly values: Float32Array
  /** Which of the scales is for the value at `index`. */
  readonly scaleOf: (index: number) => number
  /** With which every value is within the integers. */
  readonly covering: Float32Array
  /** Of each scale. */
  readonly integers: (scale: number) => Interval
}

/** Scales below the covering ones that round the values with the least squared error. */
export function leastErrorScales({ values, scaleOf, covering, integers }: ScalesToStart): Float32Array {
  const best = Float32Array.from(covering)
  const leastErrors = new Float64Array(covering.length).fill(Number.POSITIVE_INFINITY)
  for (const share of SHARES) {
    const scales = covering.map((scale) => scale * share)
    const errors = new Float64Array(covering.length)
    for (const [index, value] of values.entries()) {
      const at = scaleOf(index)
      const scale = scales[at] ?? 0
      if (scale === 0) continue
      const { min, max } = integers(at)
      const steps = Math.min(max, Math.max(min, roundHalfEven(value / scale)))
      errors[at] = (errors[at] ?? 0) + (value - steps * scale) ** 2
    }
    for (const [at, error] of errors.entries()) {
      if (error >= (leastErrors[at] ?? 0)) continue
      leastErrors[at] = error
      best[at] = scales[at] ?? 0
    }
  }
  return best
}
