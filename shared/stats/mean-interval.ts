import type { Interval } from './proportion.ts'
import { studentQuantile } from './special-functions.ts'

export interface MeanEstimate extends Interval {
  readonly mean: number
  readonly standardError: number
  readonly count: number
}

/**
 * Mean with a two-sided Student t interval. At least two values; one value has no spread to judge by.
 *
 * Exact for normal values, good for others from some thirty values on (central limit).
 */
export function meanInterval(values: ArrayLike<number>, confidence = 0.95): MeanEstimate {
  const count = values.length
  if (count < 2) throw new RangeError(`${count} values: an interval for a mean needs at least 2`)
  let mean = 0
  let squares = 0
  // Welford 1962: one pass, no cancellation of large sums.
  for (let index = 0; index < count; index += 1) {
    const value = values[index] ?? Number.NaN
    const difference = value - mean
    mean += difference / (index + 1)
    squares += difference * (value - mean)
  }
  const standardError = Math.sqrt(squares / (count - 1) / count)
  const half = studentQuantile(0.5 + confidence / 2, count - 1) * standardError
  return { mean, standardError, count, lower: mean - half, upper: mean + half }
}
