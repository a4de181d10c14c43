import { median, sortedCopy } from './quantile.ts'

export interface WarmUpOptions {
  /** Runs summed up by one median; default 5. */
  readonly blockSize?: number
  /** How many of the latest medians must agree; default 3. */
  readonly blocks?: number
  /** Largest (max - min) / min among them; default 0.02. */
  readonly toleranceRatio?: number
}

/** Warm-up as data. Feed each latency to {@link nextWarmUp} until `steady`; the caller caps the time. */
export interface WarmUp {
  readonly steady: boolean
  readonly runs: number
  readonly options: Required<WarmUpOptions>
  /** Latencies of the block being filled. */
  readonly block: readonly number[]
  /** Medians of the latest full blocks, oldest first. */
  readonly medians: readonly number[]
}

export function startWarmUp({ blockSize = 5, blocks = 3, toleranceRatio = 0.02 }: WarmUpOptions = {}): WarmUp {
  if (blockSize < 1 || blocks < 2) throw new RangeError('warm-up compares at least 2 blocks of at least 1 run')
  return { steady: false, runs: 0, options: { blockSize, blocks, toleranceRatio }, block: [], medians: [] }
}

/** Warm until the medians of the last blocks differ by less than the tolerance (latency protocol after MLPerf). */
export function nextWarmUp(state: WarmUp, latencyMs: number): WarmUp {
  const { blockSize, blocks, toleranceRatio } = state.options
  const runs = state.runs + 1
  const block = [...state.block, latencyMs]
  if (block.length < blockSize) return { ...state, runs, block }
  const medians = [...state.medians, median(sortedCopy(block))].slice(-blocks)
  const [lowest, highest] = [Math.min(...medians), Math.max(...medians)]
  const steady = medians.length === blocks && highest - lowest < toleranceRatio * lowest
  return { ...state, steady, runs, block: [], medians }
}
