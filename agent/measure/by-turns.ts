import { median, sortedCopy } from '@edgefit/shared/stats'
import { clamp } from './clamp.ts'
import { type QueryStream, warmUp } from './latency.ts'

const WARM_UP_LIMIT_MS = 5000
/** A block is long enough that a timer's tick does not matter, and short enough that the box is the same in a pair. */
const BLOCK_MS = 10
const MIN_BLOCK_QUERIES = 3
const MAX_BLOCK_QUERIES = 64
/**
 * What the other model has pushed out of the caches comes back in the first queries of a block, and its threads may
 * still spin. In service a model does not share the box with its own original, so these are not counted.
 */
const SETTLE_MS = 2
const MAX_SETTLE_QUERIES = 16
const MIN_ROUNDS = 16
const MAX_ROUNDS = 400
/** The fewest that give an interval at 95 %: for models so slow that the time is up first. */
const FEWEST_ROUNDS = 6

export interface BlockStream {
  /** Median latency of one block, in ms. */
  blockMs(): Promise<number>
}

/** Warms up, and finds out how many queries make a block. */
export async function blockStream(stream: QueryStream): Promise<BlockStream> {
  await warmUp(stream, WARM_UP_LIMIT_MS)
  const first = await timed(stream, MIN_BLOCK_QUERIES)
  const settle = clamp(SETTLE_MS / first, 1, MAX_SETTLE_QUERIES)
  const queries = clamp(BLOCK_MS / first, MIN_BLOCK_QUERIES, MAX_BLOCK_QUERIES)
  return {
    async blockMs() {
      for (let query = 0; query < settle; query += 1) await stream.next()
      return timed(stream, queries)
    },
  }
}

/**
 * Two models in short blocks (V B, B V, V B …), so that what the box does meanwhile falls on both, and neither is always
 * the one that comes after the other.
 *
 * @returns median latencies of the blocks, in ms: at the same position, of the same round
 */
export async function measureByTurns(
  variant: BlockStream,
  baseline: BlockStream,
  { minDurationMs, maxDurationMs }: { readonly minDurationMs: number; readonly maxDurationMs: number },
  report: (fraction: number) => void,
): Promise<{ readonly variantMs: readonly number[]; readonly baselineMs: readonly number[] }> {
  const variantMs: number[] = []
  const baselineMs: number[] = []
  const start = performance.now()
  let spentMs = 0
  for (let round = 0; round < MAX_ROUNDS; round += 1) {
    if (round >= MIN_ROUNDS && spentMs >= minDurationMs) break
    if (round >= FEWEST_ROUNDS && spentMs >= maxDurationMs) break
    if (round % 2 === 0) {
      variantMs.push(await variant.blockMs())
      baselineMs.push(await baseline.blockMs())
    } else {
      baselineMs.push(await baseline.blockMs())
      variantMs.push(await variant.blockMs())
    }
    spentMs = performance.now() - start
    report(Math.min(1, Math.max(spentMs / minDurationMs, round / MAX_ROUNDS)))
  }
  return { variantMs, baselineMs }
}

async function timed(stream: QueryStream, queries: number): Promise<number> {
  const latenciesMs: number[] = []
  for (let query = 0; query < queries; query += 1) latenciesMs.push(await stream.next())
  return median(sortedCopy(latenciesMs))
}
