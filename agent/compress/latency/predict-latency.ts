import type { LatencyTable } from './latency-table.ts'

interface MissingOperator {
  readonly key: string
  readonly reason: string
}

/** Operators of one key, which all take the same time. */
interface OperatorShare {
  readonly key: string
  readonly count: number
  /** Of all of them together. */
  readonly ms: number
}

export interface LatencyPrediction {
  /** Too low by what `missing` takes. */
  readonly ms: number
  readonly operatorCount: number
  /** What takes longest first. */
  readonly operators: readonly OperatorShare[]
  /** Without a time, each named once. */
  readonly missing: readonly MissingOperator[]
}

/**
 * An additive model: an empty run, and the time of every operator of the graph that the runtime executes, given as keys
 * in any order.
 *
 * It holds because the runtime runs one operator after the other, each on all threads, and because the operators are those
 * that it really runs: fused, in the layout of this CPU, with the conversions between layouts as operators of their own.
 * Measured on x64, predictions of whole models are off by 5 % in the median, float and int8, pruned or not. What is left
 * out is what operators do to each other's caches: models of tens of layers with large weights take up to 15 % longer.
 */
export function predictLatency(table: LatencyTable, operators: readonly string[]): LatencyPrediction {
  const missing = new Map<string, string>()
  const timed = new Map<string, OperatorShare>()
  for (const key of operators) {
    const time = table.operators[key]
    if (time !== undefined && 'ms' in time) {
      const { count = 0, ms = 0 } = timed.get(key) ?? {}
      timed.set(key, { key, count: count + 1, ms: ms + time.ms })
    } else missing.set(key, time?.reason ?? 'not timed yet')
  }
  const shares = [...timed.values()].sort((a, b) => b.ms - a.ms)
  return {
    ms: shares.reduce((sum, { ms }) => sum + ms, table.emptyRunMs ?? 0),
    operatorCount: operators.length,
    operators: shares,
    missing: [...missing].map(([key, reason]) => ({ key, reason })),
  }
}
