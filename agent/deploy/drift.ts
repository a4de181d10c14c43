import type { Measurement } from '@edgefit/shared/model'

export interface Drift {
  /** Median latency now over median latency then, with the band in which it is taken for noise. */
  readonly ratio: number
  readonly low: number
  readonly high: number
  readonly drifted: boolean
}

/** Clocks, caches and co-tenants move a median this far between two honest measurements of the same file. */
const SMALLEST_BAND = 0.05
const NOISE_MULTIPLE = 3

/**
 * Compares a re-benchmark with the measurement at activation. The medians differ beyond noise when their ratio leaves
 * a band of three times the two measurements' own spread, and of 5 % at least.
 */
export function driftBetween(then: Measurement, now: Measurement): Drift {
  const ratio = now.latencyMs.p50 / then.latencyMs.p50
  const spread = Math.max(SMALLEST_BAND, NOISE_MULTIPLE * Math.hypot(then.noise, now.noise))
  const [low, high] = [ratio / (1 + spread), ratio * (1 + spread)]
  return { ratio, low, high, drifted: low > 1 || high < 1 }
}
