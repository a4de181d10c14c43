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

  let best = { low: 0, high: bins, error: quantizationError(histogram, range, integers) }
  const attempt = (low: number, high: number): void => {
    if (low < 0 || low > limits.low || high > bins || high < limits.high) return
    const error = quantizationError(histogram, binsInterval(histogram, low, high), integers)
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
 * zero point that cover `interval`. In closed form, so that bins may be wider than steps or the other way about.
 */
export function quantizationError(histogram: Histogram, interval: Interval, integers: Interval): number {
  const { counts } = histogram
  const { scale, zeroPoint } = asymmetricParams(interval, integers)
  const lowest = (integers.min - zeroPoint) * scale
  const highest = (integers.max - zeroPoint) * scale
  let sum = 0
  let total = 0
  let before = errorIntegral(edgeValue(histogram, 0), scale, lowest, highest)
  for (let bin = 0; bin < counts.length; bin++) {
    const after = errorIntegral(edgeValue(histogram, bin + 1), scale, lowest, highest)
    const count = counts[bin] ?? 0
    sum += count * (after - before)
    total += count
    before = after
  }
  const width = edgeValue(histogram, 1) - edgeValue(histogram, 0)
  return sum / (width * total)
}

/** ∫ (t − q(t))² dt from `lowest` to `x`, where q rounds to multiples of `scale` between `lowest` and `highest`. */
function errorIntegral(x: number, scale: number, lowest: number, highest: number): number {
  if (x <= lowest) return (x - lowest) ** 3 / 3
  const inside = Math.min(x, highest)
  const steps = (inside - lowest) / scale
  const level = Math.round(steps)
  // A whole step holds scale³/12: a parabola from its middle, scale³/24 either side.
  const within = scale ** 3 * (level / 12 + (steps - level) ** 3 / 3)
  return x <= highest ? within : within + (x - highest) ** 3 / 3
}
