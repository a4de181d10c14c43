import type { Measurement } from '@edgefit/shared/model'
import {
  earlyStoppingEstimate,
  encodeHistogram,
  histogramRecorder,
  normalQuantile,
  quantile,
  type Random,
  sortedCopy,
  wilsonInterval,
} from '@edgefit/shared/stats'

export const EVALUATION_SAMPLES = 2000

interface MeasurementOptions {
  readonly medianMs: number
  readonly spread: number
  readonly accuracy: number
  readonly baselineAccuracy: number
  readonly ratio: number
  readonly sizeBytes: number
  readonly split: Measurement['split']
  readonly throttled: boolean
  readonly atMs: number
}

/** A measurement as a device would make it, of 500 runs drawn from a log-normal distribution. */
export function sampledMeasurement(random: Random, options: MeasurementOptions): Measurement {
  const { medianMs, spread, ratio, sizeBytes, split, throttled } = options
  const latencies = Array.from({ length: 500 }, () => medianMs * latencyFactor(random, spread))
  const sorted = sortedCopy(latencies)
  const recorder = histogramRecorder()
  for (const latencyMs of latencies) recorder.record(latencyMs * 1e6)
  const bound = earlyStoppingEstimate(sorted, { percentile: 0.9 })
  const right = Math.round(Math.max(0, options.accuracy) * EVALUATION_SAMPLES)
  const baselineRight = Math.round(options.baselineAccuracy * EVALUATION_SAMPLES)
  const both = Math.max(0, Math.min(right, baselineRight) - 6)
  const interval = wilsonInterval(right, EVALUATION_SAMPLES)
  return {
    latencyMs: {
      p50: quantile(sorted, 0.5),
      p90: quantile(sorted, 0.9),
      p99: quantile(sorted, 0.99),
      p90Bound: bound.kind === 'bound' ? bound.bound : quantile(sorted, 1),
      count: latencies.length,
    },
    accuracy: {
      metric: 'top1',
      value: right / EVALUATION_SAMPLES,
      low: interval.lower,
      high: interval.upper,
      count: EVALUATION_SAMPLES,
    },
    sizeBytes,
    peakRssBytes: 61_000_000 + 3 * sizeBytes,
    loadMs: 20 + sizeBytes / 4e5,
    threads: 4,
    throttled,
    noise: spread,
    histogram: encodeHistogram(recorder.snapshot()),
    split,
    runtime: { intraOpThreads: 4, allowSpinning: false, memoryArena: true },
    runtimeVersion: '1.30.0',
    temperatureC: { before: 51, after: 58 },
    againstBaseline: {
      latencyRatio: { ratio, low: ratio * 0.985, high: ratio * 1.015 },
      sqnrDb: 28 - 400 * Math.max(0, options.baselineAccuracy - options.accuracy),
      paired: {
        both,
        onlyVariant: right - both,
        onlyBaseline: baselineRight - both,
        neither: EVALUATION_SAMPLES - right - baselineRight + both,
      },
      difference: null,
    },
    measuredAtMs: options.atMs,
  }
}

/** Log-normal, and one run in forty is disturbed. */
function latencyFactor(random: Random, spread: number): number {
  const normal = normalQuantile(Math.min(0.999999, Math.max(0.000001, random())))
  const disturbed = random() < 0.025 ? 1 + 0.25 * random() : 1
  return Math.exp(spread * normal) * disturbed
}
