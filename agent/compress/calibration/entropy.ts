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
 * the remainder of the division into the last step. The bin of 0 stays out of the comparison: quantization keeps 0
 * exactly, while merging the many zeros of a Relu with their neighbours would count as a loss and favour tiny windows.
 */
export function entropyRange(histogram: Histogram, levels: number): Interval {
  const { range, counts } = histogram
  if (range.min === range.max) return range
  const zero = zeroBin(histogram)
  let best: { readonly divergence: number; readonly low: number; readonly high: number } | undefined
  const reach = Math.max(zero + 1, counts.length - zero)
  for (let threshold = 1; threshold <= reach; threshold++) {
    const low = range.min >= 0 ? 0 : Math.max(0, zero + 1 - threshold)
    const high = range.max <= 0 ? counts.length : Math.min(counts.length, zero + threshold)
    if (high - low < levels) continue
    const divergence = windowDivergence(counts, { low, high, zero, levels })
    if (best === undefined || divergence <= best.divergence) best = { divergence, low, high }
  }
  return best === undefined ? range : binsInterval(histogram, best.low, best.high)
}

interface Window {
  /** Bins from `low` up to, not including, `high`. */
  readonly low: number
  readonly high: number
  /** The bin that holds 0; outside of the window when 0 was not observed. */
  readonly zero: number
  readonly levels: number
}

/** KL(P‖Q): P the bins of the window with outliers in the end bins, Q each step's share spread over its occupied bins. */
export function windowDivergence(counts: Float64Array, { low, high, zero, levels }: Window): number {
  const length = high - low
  const reference = Float64Array.from(counts.subarray(low, high))
  const inside = Float64Array.from(reference)
  if (zero >= low && zero < high) {
    reference[zero - low] = 0
    inside[zero - low] = 0
  }
  const tail = (from: number, to: number): number => counts.subarray(from, to).reduce((sum, count) => sum + count, 0)
  reference[0] = (reference[0] ?? 0) + tail(0, low)
  reference[length - 1] = (reference[length - 1] ?? 0) + tail(high, counts.length)

  const quantized = new Float64Array(length)
  for (let level = 0, from = 0; level < levels; level++) {
    const to = Math.floor(((level + 1) * length) / levels)
    let sum = 0
    let occupied = 0
    for (let bin = from; bin < to; bin++) {
      sum += inside[bin] ?? 0
      if ((reference[bin] ?? 0) > 0) occupied++
    }
    for (let bin = from; bin < to; bin++) if ((reference[bin] ?? 0) > 0) quantized[bin] = sum / occupied
    from = to
  }
  return divergence(reference, quantized)
}

/** A bin that Q leaves empty, beside outliers only, would make the divergence infinite. */
const SMALLEST_SHARE = 1e-4

function divergence(reference: Float64Array, quantized: Float64Array): number {
  const total = reference.reduce((sum, count) => sum + count, 0)
  const totalQuantized = quantized.reduce((sum, count) => sum + count, 0)
  if (total === 0) return 0
  if (totalQuantized === 0) return Number.POSITIVE_INFINITY
  let sum = 0
  for (let bin = 0; bin < reference.length; bin++) {
    const p = (reference[bin] ?? 0) / total
    if (p === 0) continue
    const q = (quantized[bin] ?? 0) / totalQuantized
    sum += p * Math.log(p / (q > 0 ? q : SMALLEST_SHARE / reference.length))
  }
  return sum
}

function zeroBin({ range, counts }: Histogram): number {
  if (range.min >= 0) return range.min === 0 ? 0 : -1
  if (range.max <= 0) return range.max === 0 ? counts.length - 1 : counts.length
  return Math.min(counts.length - 1, Math.floor((-range.min / (range.max - range.min)) * counts.length))
}
