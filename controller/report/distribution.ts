import { histogramBins, histogramQuantileNs, type LatencyHistogram, mergeHistograms } from '@edgefit/shared/stats'
import type { Distribution } from './latency-report.ts'

const NS_PER_MS = 1e6

/** Adds the counts of several measurements up and reads percentiles from the sum. Null where nothing was counted. */
export function distributionOf(histograms: readonly LatencyHistogram[]): Distribution | null {
  const merged = mergeHistograms(histograms)
  const quantileMs = (fraction: number) => (histogramQuantileNs(merged, fraction) ?? 0) / NS_PER_MS
  if (merged.count === 0) return null
  return {
    measurements: histograms.length,
    count: merged.count,
    p50Ms: quantileMs(0.5),
    p90Ms: quantileMs(0.9),
    p99Ms: quantileMs(0.99),
    bins: histogramBins(merged).map(({ fromNs, toNs, count }) => ({
      fromMs: fromNs / NS_PER_MS,
      toMs: toNs / NS_PER_MS,
      count,
    })),
  }
}
