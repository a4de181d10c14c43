import type { Interval } from '../affine.ts'
import { binsInterval, type Histogram } from './histogram.ts'

/**
 * The interval whose quantization to `levels` steps loses the least information: smallest Kullback-Leibler divergence
 * from the observed distribution, with what is cut off counted into its outermost bins, to the quantized one.
 *
 * Candidates are all windows of whole bins from 0 up to a threshold, to either side as far as values were observed, that
 * have at least one bin a step: one end moves where no value lies on one side of 0, otherwise both move together. With
 * more steps than bins there is nothing to choose and the observed range comes back.
 *
 * After the entropy calibrator of TensorRT and onnxruntime, with two changes. Bins go to steps evenly, where those put
 * the remainder of the division into the last step. Point masses (0 after a Relu, a background, the bound of a Clip) stay
 * out of the comparison within the window: rounding moves such a value and smears nothing, while spreading it over the
 * bins of its step would count as a loss and favour tiny windows.
 */
export function entropyRange(histogram: Histogram, levels: number): Interval {
  const { range, counts } = histogram
  if (range.min === range.max) return range
  const zero = zeroBin(histogram)
  const body = withoutPointMasses(counts, zero)
  let best: { readonly divergence: number; readonly low: number; readonly high: number } | undefined
  const reach = Math.max(zero + 1, counts.length - zero)
  for (let threshold = 1; threshold <= reach; threshold++) {
    const low = range.min >= 0 ? 0 : Math.max(0, zero + 1 - threshold)
    const high = range.max <= 0 ? counts.length : Math.min(counts.length, zero + threshold)
    if (high - low < levels) continue
    const divergence = windowDivergence(counts, body, { low, high, levels })
    if (best === undefined || divergence <= best.divergence) best = { divergence, low, high }
  }
  return best === undefined ? range : binsInterval(histogram, best.low, best.high)
}

const POINT_SHARE = 1e-3
const POINT_RATIO = 8
const NEIGHBOURS = 4

/** `counts` with nothing in the bin of 0 and in bins that stand far out from those around them. */
function withoutPointMasses(counts: Float64Array, zero: number): Float64Array {
  const total = counts.reduce((sum, count) => sum + count, 0)
  return counts.map((count, bin) => {
    if (bin === zero) return 0
    if (count <= total * POINT_SHARE) return count
    const around = counts.slice(Math.max(0, bin - NEIGHBOURS), bin + NEIGHBOURS + 1).sort()
    const median = around[around.length >> 1] ?? 0
    return count > POINT_RATIO * median ? 0 : count
  })
}

interface Window {
  /** Bins from `low` up to, not including, `high`. */
  readonly low: number
  readonly high: number
  readonly levels: number
}

/** A bin that Q leaves empty, beside outliers only, would make the divergence infinite. */
const SMALLEST_SHARE = 1e-4

/**
 * KL(P‖Q): P is `body` within the window with the `counts` beyond it in the end bins; Q has the body that each step holds
 * spread evenly over the step's occupied bins.
 */
export function windowDivergence(counts: Float64Array, body: Float64Array, { low, high, levels }: Window): number {
  const below = sumOf(counts, 0, low)
  const above = sumOf(counts, high, counts.length)
  const within = sumOf(body, low, high)
  const total = below + within + above
  if (total === 0) return 0
  if (within === 0) return Number.POSITIVE_INFINITY
  const expected = (bin: number): number =>
    (body[bin] ?? 0) + (bin === low ? below : 0) + (bin === high - 1 ? above : 0)
  const smallest = SMALLEST_SHARE / (high - low)

  let divergence = 0
  for (let level = 0, from = low; level < levels; level++) {
    const to = low + Math.floor(((level + 1) * (high - low)) / levels)
    let occupied = 0
    for (let bin = from; bin < to; bin++) if (expected(bin) > 0) occupied++
    const q = Math.max(smallest, sumOf(body, from, to) / occupied / within)
    for (let bin = from; bin < to; bin++) {
      const p = expected(bin) / total
      if (p > 0) divergence += p * Math.log(p / q)
    }
    from = to
  }
  return divergence
}

function sumOf(values: Float64Array, from: number, to: number): number {
  let sum = 0
  for (let index = from; index < to; index++) sum += values[index] ?? 0
  return sum
}

function zeroBin({ range, counts }: Histogram): number {
  if (range.min >= 0) return range.min === 0 ? 0 : -1
  if (range.max <= 0) return range.max === 0 ? counts.length - 1 : counts.length
  return Math.min(counts.length - 1, Math.floor((-range.min / (range.max - range.min)) * counts.length))
}
