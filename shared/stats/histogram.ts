/**
 * Latencies counted in buckets that keep three significant digits, as HdrHistogram does: below 2048 ns every
 * nanosecond is its own bucket, above that each power of two is cut in 1024 equal buckets.
 *
 * Counts of integers make merging exact, associative and commutative: histograms of many devices add up to the
 * histogram of all their runs. A quantile read from buckets is within {@link HISTOGRAM_ERROR_RATIO} of that
 * of the raw sample; `count`, `minNs` and `maxNs` are exact.
 */
export interface LatencyHistogram {
  /** Number of latencies; the sum of the counts of the buckets. */
  readonly count: number
  /** Smallest and largest latency; both 0 while `count` is 0. */
  readonly minNs: number
  readonly maxNs: number
  /** Bucket index and its count >= 1, ascending by index. */
  readonly buckets: readonly (readonly [index: number, count: number])[]
}

/** Largest relative distance between a latency and the middle of its bucket. */
export const HISTOGRAM_ERROR_RATIO = 1 / 2048

export const EMPTY_HISTOGRAM: LatencyHistogram = { count: 0, minNs: 0, maxNs: 0, buckets: [] }

const BUCKETS_PER_OCTAVE = 1024

/** Counts latencies as they come; `snapshot` is independent of what is recorded later. */
export interface HistogramRecorder {
  /** @throws RangeError unless 0 <= latencyNs < 2^53; fractions of a nanosecond are rounded */
  record(latencyNs: number): void
  snapshot(): LatencyHistogram
}

export function histogramRecorder(): HistogramRecorder {
  const counts = new Map<number, number>()
  let [count, minNs, maxNs] = [0, Number.POSITIVE_INFINITY, 0]
  return {
    record(latencyNs) {
      const value = Math.round(latencyNs)
      if (!(Number.isSafeInteger(value) && value >= 0)) throw new RangeError(`${latencyNs} ns is not a latency`)
      const index = bucketIndex(value)
      counts.set(index, (counts.get(index) ?? 0) + 1)
      count += 1
      minNs = Math.min(minNs, value)
      maxNs = Math.max(maxNs, value)
    },
    snapshot: () => (count === 0 ? EMPTY_HISTOGRAM : { count, minNs, maxNs, buckets: ascending(counts) }),
  }
}

export function mergeHistograms(histograms: Iterable<LatencyHistogram>): LatencyHistogram {
  const counts = new Map<number, number>()
  let [count, minNs, maxNs] = [0, Number.POSITIVE_INFINITY, 0]
  for (const histogram of histograms) {
    if (histogram.count === 0) continue
    count += histogram.count
    minNs = Math.min(minNs, histogram.minNs)
    maxNs = Math.max(maxNs, histogram.maxNs)
    for (const [index, added] of histogram.buckets) counts.set(index, (counts.get(index) ?? 0) + added)
  }
  return count === 0 ? EMPTY_HISTOGRAM : { count, minNs, maxNs, buckets: ascending(counts) }
}

/**
 * The smallest latency with at least `fraction` of all at or below it, within {@link HISTOGRAM_ERROR_RATIO}; the
 * extremes are exact. Undefined for an empty histogram.
 */
export function histogramQuantileNs(histogram: LatencyHistogram, fraction: number): number | undefined {
  if (!(fraction >= 0 && fraction <= 1)) throw new RangeError(`quantile ${fraction} is not within [0, 1]`)
  const { count, minNs, maxNs, buckets } = histogram
  if (count === 0) return undefined
  const rank = Math.ceil(fraction * count - 1e-9)
  if (rank <= 1) return minNs
  if (rank >= count) return maxNs
  let below = 0
  for (const [index, inBucket] of buckets) {
    below += inBucket
    if (below >= rank) return Math.min(maxNs, Math.max(minNs, bucketMiddleNs(index)))
  }
  return maxNs
}

/** The buckets as ranges of latency, from `fromNs` up to and without `toNs`, for drawing. Ascending. */
export function histogramBins({ buckets }: LatencyHistogram): { fromNs: number; toNs: number; count: number }[] {
  return buckets.map(([index, count]) => {
    const { fromNs, widthNs } = bucketRange(index)
    return { fromNs, toNs: fromNs + widthNs, count }
  })
}

/** Index of the bucket of an integer latency below 2^53 ns. */
export function bucketIndex(latencyNs: number): number {
  const high = Math.floor(latencyNs / 2 ** 32)
  const bits = high > 0 ? 64 - Math.clz32(high) : 32 - Math.clz32(latencyNs)
  const exponent = Math.max(0, bits - 11)
  return exponent * BUCKETS_PER_OCTAVE + Math.floor(latencyNs / 2 ** exponent)
}

function bucketMiddleNs(index: number): number {
  const { fromNs, widthNs } = bucketRange(index)
  return fromNs + (widthNs - 1) / 2
}

function bucketRange(index: number): { readonly fromNs: number; readonly widthNs: number } {
  const exponent = Math.max(0, Math.floor(index / BUCKETS_PER_OCTAVE) - 1)
  const widthNs = 2 ** exponent
  return { fromNs: (index - exponent * BUCKETS_PER_OCTAVE) * widthNs, widthNs }
}

function ascending(counts: ReadonlyMap<number, number>): readonly (readonly [number, number])[] {
  return [...counts].sort(([left], [right]) => left - right)
}
