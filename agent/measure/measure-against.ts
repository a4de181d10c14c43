import { median, ratioInterval, sortedCopy } from '@edgefit/shared/stats'
import { type QueryStream, queryStream, warmUp } from './latency.ts'
import { loadModel } from './ort-session.ts'
import { openSamples } from './samples.ts'
import type { JobHandlers } from './serve-job.ts'

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

/**
 * How much faster the variant is than fp32: short blocks in turns (V B, B V, V B …), so that what the box does
 * meanwhile falls on both, and neither is always the one that comes after the other.
 */
export const measureAgainst: JobHandlers['measure-against'] = async (job, report) => {
  report('loading')
  const variantModel = await loadModel(job.variant.path, job.variant.runtime)
  const baselineModel = await loadModel(job.baseline.path, job.baseline.runtime)
  const samples = await openSamples(job.samples, baselineModel.inputs)
  report('warming-up')
  const variant = await blockStream(await queryStream(variantModel, samples))
  const baseline = await blockStream(await queryStream(baselineModel, samples))
  await samples.close()

  const variantMs: number[] = []
  const baselineMs: number[] = []
  const { minDurationMs, maxDurationMs } = job.effort
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
    report('measuring', Math.min(1, Math.max(spentMs / minDurationMs, round / MAX_ROUNDS)))
  }
  const interval = ratioInterval(variantMs, baselineMs)
  if (interval === undefined) throw new RangeError(`${variantMs.length} rounds give no interval`)
  const { ratio, low, high } = interval
  return { latencyRatio: { ratio, low, high } }
}

interface BlockStream {
  /** Median latency of one block, in ms. */
  blockMs(): Promise<number>
}

async function blockStream(stream: QueryStream): Promise<BlockStream> {
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

async function timed(stream: QueryStream, queries: number): Promise<number> {
  const latenciesMs: number[] = []
  for (let query = 0; query < queries; query += 1) latenciesMs.push(await stream.next())
  return median(sortedCopy(latenciesMs))
}

function clamp(value: number, low: number, high: number): number {
  return Math.min(high, Math.max(low, Math.ceil(value)))
}
