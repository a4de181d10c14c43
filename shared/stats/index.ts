export { type AucEstimate, aucInterval, pairedAucDifference } from './auc.ts'
export { binomialCdf } from './binomial.ts'
export {
  type EarlyStoppingEstimate,
  type EarlyStoppingOptions,
  earlyStoppingEstimate,
  minimumQueries,
} from './early-stopping.ts'
export type { FloorDecision } from './floor-decision.ts'
export {
  EMPTY_HISTOGRAM,
  HISTOGRAM_ERROR_RATIO,
  type HistogramRecorder,
  histogramBins,
  histogramQuantileNs,
  histogramRecorder,
  type LatencyHistogram,
  mergeHistograms,
} from './histogram.ts'
export { decodeHistogram, encodeHistogram } from './histogram-codec.ts'
export { type LatencyNoise, latencyNoise } from './noise.ts'
export { type PairedCounts, pairedRelativeFloor, pairOutcomes } from './paired-proportions.ts'
export { absoluteFloor, type Interval, wilsonInterval } from './proportion.ts'
export { median, quantile, sortedCopy } from './quantile.ts'
export { type Random, seededRandom, shuffled } from './random.ts'
export { type RatioInterval, ratioInterval } from './ratio-interval.ts'
export { normalQuantile } from './special-functions.ts'
export { addSqnr, EMPTY_SQNR, type SqnrSums, sqnrDb } from './sqnr.ts'
export { nextWarmUp, startWarmUp, type WarmUp, type WarmUpOptions } from './warm-up.ts'
