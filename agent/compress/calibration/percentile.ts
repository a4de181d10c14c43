import type { Interval } from '../affine.ts'
import type { Histogram } from './histogram.ts'

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
  const width = (range.max - range.min) / counts.length
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
