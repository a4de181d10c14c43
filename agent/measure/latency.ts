import type { LatencyMs } from '@edgefit/shared/model'
import { earlyStoppingEstimate, nextWarmUp, quantile, sortedCopy, startWarmUp } from '@edgefit/shared/stats'
import type { Effort } from './jobs.ts'
import type { LoadedModel, Query } from './ort-session.ts'
import { type Samples, samplePool } from './samples.ts'

/** Single-stream queries over real samples in turn: one starts when the one before has ended. */
export interface QueryStream {
  /** Latency of the next query, in ms. */
  next(): Promise<number>
}

export async function queryStream(model: LoadedModel, samples: Samples): Promise<QueryStream> {
  const queries: Query[] = (await samplePool(samples)).map((feeds) => model.bind(feeds))
  let turn = 0
  return {
    next() {
      const query = queries[turn % queries.length]
      if (query === undefined) throw new RangeError('no samples to run')
      turn += 1
      return query.timeMs()
    },
  }
}

const MIN_WARM_UP_RUNS = 3

/** Runs until latencies are steady, at most `limitMs`: a box that never settles is measured as it is. */
export async function warmUp(stream: QueryStream, limitMs: number): Promise<void> {
  let state = startWarmUp()
  let spentMs = 0
  while (!state.steady && (spentMs < limitMs || state.runs < MIN_WARM_UP_RUNS)) {
    const latencyMs = await stream.next()
    spentMs += latencyMs
    state = nextWarmUp(state, latencyMs)
  }
}

/** Latencies in the order of measurement, as many as `effort` asks for. */
export async function collectLatencies(
  stream: QueryStream,
  effort: Effort,
  report: (fraction: number) => void,
): Promise<readonly number[]> {
  const latenciesMs: number[] = []
  let spentMs = 0
  while (!enough(effort, latenciesMs.length, spentMs)) {
    const latencyMs = await stream.next()
    latenciesMs.push(latencyMs)
    spentMs += latencyMs
    report(Math.min(1, spentMs / effort.minDurationMs, latenciesMs.length / effort.minQueries))
  }
  return latenciesMs
}

function enough({ minDurationMs, minQueries, maxQueries, maxDurationMs }: Effort, count: number, spentMs: number) {
  if (count < minQueries) return false
  return spentMs >= minDurationMs || count >= maxQueries || spentMs >= maxDurationMs
}

/** @param latenciesMs at least 64, which the bound on the 90th percentile needs */
export function summarize(latenciesMs: readonly number[]): LatencyMs {
  const sorted = sortedCopy(latenciesMs)
  const estimate = earlyStoppingEstimate(sorted, { percentile: 0.9 })
  if (estimate.kind === 'too-few') throw new RangeError(`a bound needs ${estimate.minimumCount} latencies`)
  return {
    p50: quantile(sorted, 0.5),
    p90: quantile(sorted, 0.9),
    p99: quantile(sorted, 0.99),
    p90Bound: estimate.bound,
    count: sorted.length,
  }
}
