import { asymmetricParams, type Interval } from '../affine.ts'
import { binsInterval, edgeValue, type Histogram } from './histogram.ts'

/**
 * The interval, of whole bins, that makes the mean squared error of quantizing to `integers` smallest: a narrower one has
 * finer steps and cuts off more.
 *
 * Where no value lies on one side of 0, as after a Relu, only the other end moves. Both ends are searched in turn, from
 * coarse to fine, until neither gets better.
 */
export function mseRange(histogram: Histogram, integers: Interval): Interval {
  const { range, counts } = histogram
  const total = counts.reduce((sum, count) => sum + count, 0)
  if (range.min === range.max || total === 0) return range
  const bins = counts.length
  const zero = (-range.min / (range.max - range.min)) * bins
  const limits = {
    low: range.min >= 0 ? 0 : Math.ceil(Math.min(zero, bins)) - 1,
    high: range.max <= 0 ? bins : Math.floor(Math.max(zero, 0)) + 1,
  }

  const errorOf = quantizationErrors(histogram, integers)
  let best = { low: 0, high: bins, error: errorOf(range) }
  const tried = new Set<number>()
  const attempt = (low: number, high: number): void => {
    if (low < 0 || low > limits.low || high > bins || high < limits.high) return
    const key = low * (bins + 1) + high
    if (tried.has(key)) return
    tried.add(key)
    const error = errorOf(binsInterval(histogram, low, high), best.error)
    if (error < best.error) best = { low, high, error }
  }
  for (let step = Math.ceil(bins / COARSE), reach = COARSE; step >= 1; step = Math.floor(step / 4), reach = 4) {
    for (let before = 0; before !== best.error; ) {
      before = best.error
      const { high } = best
      for (let move = -reach; move <= reach; move++) attempt(best.low, high + move * step)
      const { low } = best
      for (let move = -reach; move <= reach; move++) attempt(low + move * step, best.high)
    }
  }
  return binsInterval(histogram, best.low, best.high)
}

/** Places tried for an end at first: all over, so that a dip on the way in is not taken for the bottom. */
const COARSE = 32

/**
 * Mean squared error of quantizing values spread as `histogram` has them, evenly within each bin, with the scale and
 * zero point that cover an interval. In closed form, so that bins may be wider than steps or the other way about.
 *
 * What is certain to come to `limit` or more is not computed to its end and given as infinite.
 */
export function quantizationErrors(
  histogram: Histogram,
  integers: Interval,
): (interval: Interval, limit?: number) => number {
  const { counts } = histogram
  const edges = Float64Array.from({ length: counts.length + 1 }, (_, edge) => edgeValue(histogram, edge))
  const width = edgeValue(histogram, 1) - edgeValue(histogram, 0)
  const weight = width * counts.reduce((sum, count) => sum + count, 0)
  return (interval, limit = Number.POSITIVE_INFINITY) => {
    const { scale, zeroPoint } = asymmetricParams(interval, integers)
    const lowest = (integers.min - zeroPoint) * scale
    const highest = (integers.max - zeroPoint) * scale
    const enough = limit * weight
    let sum = 0
    let before = errorIntegral(edges[0] ?? 0, scale, lowest, highest)
    for (let bin = 0; bin < counts.length; bin++) {
      const after = errorIntegral(edges[bin + 1] ?? 0, scale, lowest, highest)
      sum += (counts[bin] ?? 0) * (after - before)
      if (sum > enough) return Number.POSITIVE_INFINITY
      before = after
    }
    return sum / weight
  }
}

/** ∫ (t − q(t))² dt from `lowest` to `x`, where q rounds to multiples of `scale` between `lowest` and `highest`. */
function errorIntegral(x: number, scale: number, lowest: number, highest: number): number {
  if (x <= lowest) return cube(x - lowest) / 3
  const inside = Math.min(x, highest)
  const steps = (inside - lowest) / scale
  const level = Math.round(steps)
  // A whole step holds scale³/12: a parabola from its middle, scale³/24 either side.
  const within = cube(scale) * (level / 12 + cube(steps - level) / 3)
  return x <= highest ? within : within + cube(x - highest) / 3
}

/** `** 3` takes ten times as long, and this is asked millions of times. */
function cube(x: number): number {
  return x * x * x
}
