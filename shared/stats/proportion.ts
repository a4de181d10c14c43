import { decideFloor, type FloorDecision, oneSidedLimit } from './floor-decision.ts'
import { normalQuantile } from './special-functions.ts'

export interface Interval {
  readonly lower: number
  readonly upper: number
}

/** Two-sided Wilson score interval for a proportion (Wilson 1927, JASA 22, 209-212). `count` is at least 1. */
export function wilsonInterval(successes: number, count: number, confidence = 0.95): Interval {
  if (!(confidence > 0 && confidence < 1)) throw new RangeError(`confidence ${confidence} is not within (0, 1)`)
  return wilsonBounds(successes, count, normalQuantile(0.5 + confidence / 2))
}

/**
 * Is a proportion at least `value`? By one-sided Wilson bounds.
 *
 * The score statistic (p - value) / sqrt(value (1 - value) / n) is the test that the Wilson interval inverts; it grows
 * with sqrt(n), which gives `samplesNeeded`.
 */
export function absoluteFloor(correct: number, count: number, value: number, confidence = 0.95): FloorDecision {
  if (!(value > 0 && value <= 1)) throw new RangeError(`floor ${value} is not within (0, 1]`)
  const bounds = wilsonBounds(correct, count, oneSidedLimit(confidence))
  const difference = correct / count - value
  // At value 1 the statistic has no variance: one error disproves the floor, and no number of samples proves it.
  const score = difference === 0 ? 0 : difference / Math.sqrt((value * (1 - value)) / count)
  return decideFloor({ score, samples: count, estimate: correct / count, ...bounds }, confidence)
}

function wilsonBounds(successes: number, count: number, z: number): Interval {
  if (!(count >= 1 && successes >= 0 && successes <= count)) {
    throw new RangeError(`${successes} successes of ${count} is not a proportion`)
  }
  const share = successes / count
  const square = (z * z) / count
  const centre = share + square / 2
  const half = z * Math.sqrt((share * (1 - share)) / count + square / (4 * count))
  return {
    lower: successes === 0 ? 0 : (centre - half) / (1 + square),
    upper: successes === count ? 1 : (centre + half) / (1 + square),
  }
}
