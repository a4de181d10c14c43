import { median, sortedCopy } from '@edgefit/shared/stats'
import type { Query } from './ort-session.ts'

const ROUNDS = 9
const BLOCK_MS = 6
const MIN_BLOCK_RUNS = 3
const MAX_BLOCK_RUNS = 40

export interface Quietest {
  /** Of one run. */
  readonly ms: number
  /** CPUs that this process had meanwhile. Below 1, others had them: `ms` is then more than the box needs. */
  readonly cpus: number
}

/**
 * How long a run takes of each of these models, in rounds over all of them: the median of the quietest block of runs,
 * since what else happens on a box only ever adds time. In the order of `queries`.
 */
export async function quietestBlocks(queries: readonly Query[], signal: AbortSignal): Promise<readonly Quietest[]> {
  const quietest = queries.map((): Quietest => ({ ms: Number.POSITIVE_INFINITY, cpus: 0 }))
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const [at, query] of queries.entries()) {
      signal.throwIfAborted()
      const block = await timeBlock(query)
      if (block.ms < (quietest[at]?.ms ?? 0)) quietest[at] = block
    }
  }
  return quietest
}

async function timeBlock(query: Query): Promise<Quietest> {
  // The first run finds the caches as another model left them, and does not count.
  const runs = clamp(BLOCK_MS / (await query.timeMs()), MIN_BLOCK_RUNS, MAX_BLOCK_RUNS)
  const runsMs: number[] = []
  const start = process.cpuUsage()
  for (let run = 0; run < runs; run += 1) runsMs.push(await query.timeMs())
  const { user, system } = process.cpuUsage(start)
  const wallMs = runsMs.reduce((sum, ms) => sum + ms, 0)
  return { ms: median(sortedCopy(runsMs)), cpus: (user + system) / 1000 / wallMs }
}

/** A whole number from `low` to `high`. */
export function clamp(value: number, low: number, high: number): number {
  return Math.min(high, Math.max(low, Math.ceil(value)))
}
