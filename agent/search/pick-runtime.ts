import type { RuntimeSettings } from '@edgefit/shared/model'
import type { RuntimeTiming } from './lab.ts'

/**
 * Settings this close to the fastest count as equal, and then fewer threads win, and no spinning. Judged by the 90th
 * percentile, as budgets are: on a busy box more threads often mean a better median and a worse tail.
 */
const EQUAL_LATENCY_RATIO = 1.05

/** The settings to run with; undefined where none was timed. */
export function pickRuntime(timings: readonly RuntimeTiming[]): RuntimeSettings | undefined {
  const fastestMs = Math.min(...timings.map(({ p90Ms }) => p90Ms))
  const equals = timings.filter(({ p90Ms }) => p90Ms <= fastestMs * EQUAL_LATENCY_RATIO)
  return equals.map(({ runtime }) => runtime).sort((a, b) => cost(a) - cost(b))[0]
}

function cost({ intraOpThreads, allowSpinning }: RuntimeSettings): number {
  return intraOpThreads * 2 + (allowSpinning ? 1 : 0)
}
