import type { Interval } from '../affine.ts'
import { binsInterval, type Histogram } from './histogram.ts'

/**
 * The interval whose quantization to `levels` steps loses the least information: smallest Kullback-Leibler divergence
 * from the observed distribution, with what is cut off counted into its outermost bins, to the quantized one.
 *
 * Candidates are windows of whole bins from 0 up to one of about 512 thresholds, to either side as far as values were
 * observed, that have at least one bin a step and cut off no more than a ten-thousandth of the values: one end moves where
 * no value lies on one side of 0, otherwise both move together. With more steps than bins there is nothing to choose and
 * the observed range comes back.
 *
 * After the entropy calibrator of TensorRT and onnxruntime, with three changes. What may be cut off is limited: the
 * divergence knows how many values that is, not how far they are moved, and where most are near 0 it gave up the largest
 * 500th, which the next layers live on (31 instead of 35 dB on a keyword network). Bins go to steps evenly, where those put
 * the remainder of the division into the last step. Point masses (0 after a Relu, a background, the bound of a Clip) stay
 * out of the comparison within the window: rounding moves such a value and smears nothing, while spreading it over the
 * bins of its step would count as a loss and favour tiny windows.
 */
export function entropyRange(histogram: Histogram, levels: number): Interval {
  const { range, counts } = histogram
  if (range.min === range.max) return range
  const zero = zeroBin(histogram)
  const before = runningSum(counts)
  const total = at(before, counts.length)
  const divergence = windowDivergence(counts, withoutPointMasses(counts, zero), levels)
  let best: { readonly loss: number; readonly low: number; readonly high: number } | undefined
  const reach = Math.max(zero + 1, counts.length - zero)
  const stride = Math.max(1, Math.floor(counts.length / CANDIDATES))
  for (let threshold = reach; threshold > 0; threshold -= stride) {
    const low = range.min >= 0 ? 0 : Math.max(0, zero + 1 - threshold)
    const high = range.max <= 0 ? counts.length : Math.min(counts.length, zero + threshold)
    if (high - low < levels) continue
    if (at(before, low) + total - at(before, high) > LARGEST_CUT * total) break
    const loss = divergence(low, high)
    if (best === undefined || loss < best.loss) best = { loss, low, high }
  }
  return best === undefined ? range : binsInterval(histogram, best.low, best.high)
}

const CANDIDATES = 512
const LARGEST_CUT = 1e-4

const POINT_SHARE = 1e-3
const POINT_RATIO = 8
const NEIGHBOURS = 4

/** `counts` with nothing in the bin of 0 and in bins that stand far out from those around them. */
function withoutPointMasses(counts: Float64Array, zero: number): Float64Array {
  const total = counts.reduce((sum, count) => sum + count, 0)
  return counts.map((count, bin) => {
    if (bin === zero) return 0
    return count > total * POINT_SHARE && standsOut(counts, bin) ? 0 : count
  })
}

/** Whether a bin holds more than `POINT_RATIO` times the median of those around it and itself. */
function standsOut(counts: Float64Array, bin: number): boolean {
  const from = Math.max(0, bin - NEIGHBOURS)
  const to = Math.min(counts.length, bin + NEIGHBOURS + 1)
  let lower = 0
  for (let other = from; other < to; other++) if (POINT_RATIO * at(counts, other) < at(counts, bin)) lower++
  return lower > (to - from) >> 1
}

/** A bin that Q leaves empty, beside outliers only, would make the divergence infinite. */
const SMALLEST_SHARE = 1e-4

/**
 * KL(P‖Q) of the window of bins from `low` up to, not including, `high`, at least one bin for each of two or more levels: P is `body` within the
 * window with the `counts` beyond it in the end bins; Q has the body that each level holds spread evenly over the level's
 * occupied bins.
 *
 * Within a level Q is one number, so that of P only sums are needed, and those are differences of running ones: a window
 * costs as many steps as it has levels, not bins. The levels of all windows are runs of a few lengths, whose logarithms
 * are taken once.
 */
export function windowDivergence(
  counts: Float64Array,
  body: Float64Array,
  levels: number,
): (low: number, high: number) => number {
  const all = runningSum(counts)
  const bodies = runningSum(body)
  const occupied = runningSum(body.map((count) => (count > 0 ? 1 : 0)))
  const logs = runningSum(body.map(timesLog))
  const densities: Float64Array[] = []
  const densitiesOf = (length: number): Float64Array => {
    densities[length] ??= logDensities(bodies, occupied, length)
    return densities[length]
  }
  return (low, high) => {
    const below = at(all, low)
    const held = at(bodies, high) - at(bodies, low)
    const above = at(all, counts.length) - at(all, high)
    const total = below + held + above
    if (total === 0) return 0
    if (held === 0) return Number.POSITIVE_INFINITY
    const lowest = Math.log(SMALLEST_SHARE / (high - low)) + Math.log(held)
    const endLevel = (from: number, to: number, bin: number, cut: number): number => {
      const count = at(body, bin)
      const extraBins = count === 0 && cut > 0 ? 1 : 0
      const density = (at(bodies, to) - at(bodies, from)) / (at(occupied, to) - at(occupied, from) + extraBins)
      const ofQ = density >= 0 ? (at(bodies, to) - at(bodies, from) + cut) * Math.max(lowest, Math.log(density)) : 0
      return timesLog(count + cut) - timesLog(count) - ofQ
    }
    const length = Math.floor((high - low) / levels)
    const beforeLast = low + Math.floor(((levels - 1) * (high - low)) / levels)
    const ends = endLevel(low, low + length, low, below) + endLevel(beforeLast, high, high - 1, above)
    const inner = innerLevels(bodies, densitiesOf(length), densitiesOf(length + 1), { low, high, levels, lowest })
    return (at(logs, high) - at(logs, low) + ends - inner) / total + Math.log(held / total)
  }
}

/**
 * Of all levels but the first and the last, what they hold times the logarithm of its density. Level `n` ends at
 * ⌊n · width / levels⌋ bins: all are of one length or one bin longer.
 *
 * Nearly all the time of the search passes here, in a process that has just begun: small, so that it is compiled fast.
 */
function innerLevels(
  bodies: Float64Array,
  short: Float64Array,
  long: Float64Array,
  { low, high, levels, lowest }: Record<'low' | 'high' | 'levels' | 'lowest', number>,
): number {
  const length = ((high - low) / levels) | 0
  const excess = (high - low) % levels
  let from = low + length
  let rest = excess
  let before = bodies[from] ?? 0
  let sum = 0
  for (let level = 2; level < levels; level++) {
    rest += excess
    let to = from + length
    let density = short[from] ?? 0
    if (rest >= levels) {
      rest -= levels
      to++
      density = long[from] ?? 0
    }
    const after = bodies[to] ?? 0
    sum += (after - before) * (density > lowest ? density : lowest)
    from = to
    before = after
  }
  return sum
}

/** For each bin the logarithm of what the `length` bins from there on hold per occupied one; any number if nothing. */
function logDensities(bodies: Float64Array, occupied: Float64Array, length: number): Float64Array {
  const found = new Float64Array(bodies.length)
  for (let from = 0; from + length < bodies.length; from++) {
    const bins = at(occupied, from + length) - at(occupied, from)
    if (bins > 0) found[from] = Math.log((at(bodies, from + length) - at(bodies, from)) / bins)
  }
  return found
}

function timesLog(count: number): number {
  return count > 0 ? count * Math.log(count) : 0
}

/** What comes before each position, and in the end all. */
function runningSum(values: Float64Array): Float64Array {
  const sums = new Float64Array(values.length + 1)
  for (let index = 0; index < values.length; index++) sums[index + 1] = at(sums, index) + at(values, index)
  return sums
}

function at(values: Float64Array, index: number): number {
  return values[index] ?? 0
}

function zeroBin({ range, counts }: Histogram): number {
  if (range.min >= 0) return range.min === 0 ? 0 : -1
  if (range.max <= 0) return range.max === 0 ? counts.length - 1 : counts.length
  return Math.min(counts.length - 1, Math.floor((-range.min / (range.max - range.min)) * counts.length))
}
