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

/** Adds `values` to `histogram.counts`. */
export function addToHistogram({ range, counts }: Histogram, values: Float32Array): void {
  const binsPerUnit = BINS / (range.max - range.min)
  if (!Number.isFinite(binsPerUnit)) return
  // Every activation of every sample passes here: an iterator would be four times slower.
  for (let index = 0; index < values.length; index++) {
    const bin = Math.min(BINS - 1, Math.max(0, Math.floor(((values[index] ?? 0) - range.min) * binsPerUnit)))
    counts[bin] = (counts[bin] ?? 0) + 1
  }
}

/**
 * The interval that holds `percentile` percent of the values seen.
 *
 * Half of the rest is cut off at each end. Where no value lies on one side of 0, as after a Relu, that end is not cut
 * (quantization extends the interval to 0 anyway) and the other end takes the whole cut. Bounds are rounded outwards to
 * the edge of their bin, so the interval never holds less than asked for.
 */
export function percentileRange({ range, counts }: Histogram, percentile: number): Interval {
  if (range.min === range.max) return range
  const total = counts.reduce((sum, count) => sum + count, 0)
  const cut = total * (1 - percentile / 100)
  const oneSided = range.min >= 0 || range.max <= 0
  const perEnd = oneSided ? cut : cut / 2
  const width = (range.max - range.min) / BINS
  const low = range.min >= 0 ? 0 : binsCut(counts, perEnd)
  const high = range.max <= 0 ? 0 : binsCut(counts.toReversed(), perEnd)
  return { min: Math.fround(range.min + low * width), max: Math.fround(range.max - high * width) }
}

/** How many bins from the start hold, together, at most `cut` values. */
function binsCut(counts: Float64Array, cut: number): number {
  let sum = 0
  let bins = 0
  for (const count of counts) {
    sum += count
    if (sum > cut) break
    bins++
  }
  return bins
}
