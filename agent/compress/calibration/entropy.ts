import type { Interval } from '../affine.ts'
import { binsInterval, type Histogram } from './histogram.ts'

/**
 * The interval whose quantization to `levels` steps loses the least information: smallest Kullback-Leibler divergence
 * from the observed distribution, with what is cut off counted into its outermost bins, to the quantized one.
 *
 * Candidates are windows of whole bins from 0 up to one of about 512 thresholds, to either side as far as values were
 * observed, that have at least one bin a step: one end moves where no value lies on one side of 0, otherwise both move together. With
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
  const divergence = windowDivergence(counts, withoutPointMasses(counts, zero), levels)
  let best: { readonly loss: number; readonly low: number; readonly high: number } | undefined
  const reach = Math.max(zero + 1, counts.length - zero)
  const stride = Math.max(1, Math.floor(counts.length / CANDIDATES))
  for (let threshold = reach; threshold > 0; threshold -= stride) {
    const low = range.min >= 0 ? 0 : Math.max(0, zero + 1 - threshold)
    const high = range.max <= 0 ? counts.length : Math.min(counts.length, zero + threshold)
    if (high - low < levels) continue
    const loss = divergence(low, high)
    if (best === undefined || loss < best.loss) best = { loss, low, high }
  }
  return best === undefined ? range : binsInterval(histogram, best.low, best.high)
}

const CANDIDATES = 512

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

/** A bin that Q leaves empty, beside outliers only, would make the divergence infinite. */
const SMALLEST_SHARE = 1e-4

/**
 * KL(P‖Q) of the window of bins from `low` up to, not including, `high`, at least one bin for each of two or more levels: P is `body` within the
 * window with the `counts` beyond it in the end bins; Q has the body that each level holds spread evenly over the level's
 * occupied bins.
 *
 * Within a level Q is one number, so that of P only sums are needed, and those are differences of running ones: a window
 * costs as many steps as it has levels, not bins. Levels of many windows are the same bins, whose logarithm is taken once.
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
  const logDensity = logDensities(bodies, occupied)
  return (low, high) => {
    const below = at(all, low)
    const above = at(all, counts.length) - at(all, high)
    const [first, last] = [at(body, low), at(body, high - 1)]
    const within = at(bodies, high) - at(bodies, low)
    const total = below + within + above
    if (total === 0) return 0
    if (within === 0) return Number.POSITIVE_INFINITY
    const [logWithin, logSmallest] = [Math.log(within), Math.log(SMALLEST_SHARE / (high - low))]
    const ends = timesLog(first + below) - timesLog(first) + timesLog(last + above) - timesLog(last)
    const ofP = (at(logs, high) - at(logs, low) + ends) / total - Math.log(total)

    const endLevel = (from: number, to: number, cut: number, extraBins: number): number => {
      const held = at(bodies, to) - at(bodies, from)
      if (held + cut === 0) return 0
      const bins = at(occupied, to) - at(occupied, from) + extraBins
      return (held + cut) * Math.max(logSmallest, Math.log(held / bins) - logWithin)
    }
    const edge = (level: number): number => low + Math.floor((level * (high - low)) / levels)
    const [afterFirst, beforeLast] = [edge(1), edge(levels - 1)]
    let ofQ =
      endLevel(low, afterFirst, below, first === 0 && below > 0 ? 1 : 0) +
      endLevel(beforeLast, high, above, last === 0 && above > 0 ? 1 : 0)
    for (let level = 1, from = afterFirst; level < levels - 1; level++) {
      const to = edge(level + 1)
      const held = at(bodies, to) - at(bodies, from)
      if (held > 0) ofQ += held * Math.max(logSmallest, logDensity(from, to) - logWithin)
      from = to
    }
    return ofP - ofQ / total
  }
}

/** The logarithm of what the bins `from` up to, not including, `to` hold per occupied one; remembered. */
function logDensities(bodies: Float64Array, occupied: Float64Array): (from: number, to: number) => number {
  const known: Float64Array[] = []
  return (from, to) => {
    known[to - from] ??= new Float64Array(bodies.length).fill(Number.NaN)
    const ofLength = known[to - from]
    const before = ofLength?.[from]
    if (ofLength === undefined || before === undefined) throw new RangeError(`there are no bins ${from} to ${to}`)
    if (!Number.isNaN(before)) return before
    const found = Math.log((at(bodies, to) - at(bodies, from)) / (at(occupied, to) - at(occupied, from)))
    ofLength[from] = found
    return found
  }
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
