import { median, sortedCopy } from '@edgefit/shared/stats'
import { clamp } from './clamp.ts'
import type { Query } from './ort-session.ts'

const ROUNDS = 9
const BLOCK_MS = 6
const MIN_BLOCK_RUNS = 3
const MAX_BLOCK_RUNS = 200

export interface Quietest {
  /** Of one run. */
  readonly ms: number
  /** CPU time of all threads of this process for one run, least of all blocks: others cannot add to it by taking turns. */
  readonly cpuMs: number
}

/**
 * How long a run takes of each of these models, in rounds over all of them: the median of the quietest block of runs,
 * since what else happens on a box only ever adds time. In the order of `queries`.
 */
export async function quietestBlocks(queries: readonly Query[], signal: AbortSignal): Promise<readonly Quietest[]> {
  const quietest = queries.map((): Quietest => ({ ms: Number.POSITIVE_INFINITY, cpuMs: Number.POSITIVE_INFINITY }))
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const [at, query] of queries.entries()) {
      signal.throwIfAborted()
      const { ms, cpuMs } = await timeBlock(query)
      const least = quietest[at]
      if (least !== undefined) quietest[at] = { ms: Math.min(least.ms, ms), cpuMs: Math.min(least.cpuMs, cpuMs) }
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
  return { ms: median(sortedCopy(runsMs)), cpuMs: (user + system) / 1000 / runs }
}
