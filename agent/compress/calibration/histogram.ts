import type { Interval } from '../affine.ts'

const BINS = 2048

/** How often values fell into equal bins between `range.min` and `range.max`; memory does not grow with what is seen. */
export interface Histogram {
  readonly range: Interval
  readonly counts: Float64Array
}

/** For values known to lie in `range`, from an earlier pass over the same data. */
export function emptyHistogram(range: Interval): Histogram {
  return { range, counts: new Float64Array(BINS) }
}

/** Adds `values` to `histogram.counts`; what lies beyond the range, as rounding may put it, to the bins at its ends. */
export function addToHistogram({ range, counts }: Histogram, values: Float32Array): void {
  const binsPerUnit = counts.length / (range.max - range.min)
  if (!Number.isFinite(binsPerUnit)) return
  const { min } = range
  const last = counts.length - 1
  // Where most values are one, as after a Relu, each count waits for the one before: integers are added faster.
  const added = new Uint32Array(counts.length)
  // Every activation of every sample passes here: an iterator, or Math.floor and its like, is four times slower.
  for (let index = 0; index < values.length; index++) {
    const at = (((values[index] ?? 0) - min) * binsPerUnit) | 0
    const bin = at > last ? last : at < 0 ? 0 : at
    added[bin] = (added[bin] ?? 0) + 1
  }
  for (let bin = 0; bin < counts.length; bin++) counts[bin] = (counts[bin] ?? 0) + (added[bin] ?? 0)
}

/** The real value at the lower edge of bin `edge`; the number of bins gives the upper end. */
export function edgeValue({ range, counts }: Histogram, edge: number): number {
  return range.min + (edge * (range.max - range.min)) / counts.length
}

/** The bins from `low` up to, not including, `high` as an interval of float32s within the observed range. */
export function binsInterval(histogram: Histogram, low: number, high: number): Interval {
  const { range, counts } = histogram
  return {
    min: low === 0 ? range.min : Math.fround(edgeValue(histogram, low)),
    max: high === counts.length ? range.max : Math.fround(edgeValue(histogram, high)),
  }
}
