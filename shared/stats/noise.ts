import { median, sortedCopy } from './quantile.ts'

// Makes the median absolute deviation estimate the standard deviation of a normal sample (Rousseeuw and Croux 1993).
const MAD_TO_DEVIATION = 1.4826

export interface LatencyNoise {
  /** 1.4826 * MAD / median: a coefficient of variation that a few outliers do not move. */
  readonly spreadRatio: number
  /** median of the second half / median of the first half - 1: positive when the box slowed down. */
  readonly driftRatio: number
}

/** @param latenciesMs at least two positive values in the order of measurement; not modified */
export function latencyNoise(latenciesMs: ArrayLike<number>): LatencyNoise {
  if (latenciesMs.length < 2) throw new RangeError(`${latenciesMs.length} latencies: noise needs at least 2`)
  const sample = Float64Array.from(latenciesMs)
  const centre = median(sortedCopy(sample))
  const deviation = median(sortedCopy(sample.map((value) => Math.abs(value - centre))))
  const half = Math.floor(sample.length / 2)
  const first = median(sortedCopy(sample.subarray(0, half)))
  const second = median(sortedCopy(sample.subarray(sample.length - half)))
  return { spreadRatio: (MAD_TO_DEVIATION * deviation) / centre, driftRatio: second / first - 1 }
}
