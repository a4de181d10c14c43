import { asFloat32, type Tensor } from '@edgefit/shared/onnx'
import { roundHalfEven } from '../../affine.ts'

/** Shares of the largest magnitude that are tried. */
const SHARES = Array.from({ length: 29 }, (_, at) => 1 - at / 40)

/**
 * Symmetric scales that round weights with the least squared error, one for each entry of `axis` or one in all. Those of
 * entries without weights are 0.
 */
export function leastErrorScales(weights: Tensor, axis: number | undefined, levels: number): Float32Array {
  const values = asFloat32(weights)
  const channels = axis === undefined ? 1 : (weights.dims[axis] ?? 1)
  const inner = axis === undefined ? values.length : weights.dims.slice(axis + 1).reduce((a, b) => a * b, 1)
  const channelOf = (index: number): number => Math.floor(index / inner) % channels
  const largest = new Float32Array(channels)
  for (const [index, value] of values.entries()) {
    const channel = channelOf(index)
    largest[channel] = Math.max(largest[channel] ?? 0, Math.abs(value))
  }
  const best = largest.map((magnitude) => magnitude / levels)
  const leastErrors = new Float64Array(channels).fill(Number.POSITIVE_INFINITY)
  for (const share of SHARES) {
    const scales = largest.map((magnitude) => (magnitude * share) / levels)
    const errors = new Float64Array(channels)
    for (const [index, value] of values.entries()) {
      const channel = channelOf(index)
      const scale = scales[channel] ?? 0
      if (scale === 0) continue
      const steps = Math.min(levels, Math.max(-levels, roundHalfEven(value / scale)))
      errors[channel] = (errors[channel] ?? 0) + (value - steps * scale) ** 2
    }
    for (const [channel, error] of errors.entries()) {
      if (error >= (leastErrors[channel] ?? 0)) continue
      leastErrors[channel] = error
      best[channel] = scales[channel] ?? 0
    }
  }
  return best
}
