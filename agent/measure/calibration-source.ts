import type { CalibrationSource, FeedTensor } from '../compress/index.ts'
import type { Feeds } from './ort-session.ts'
import type { Samples } from './samples.ts'

/** Small samples are read together and kept for the next pass: reading one would take longer than a small model's run. */
const AHEAD_BYTES = 2 ** 20

/** Samples for calibration, one at a time or, where the model takes several, some at once. */
export function calibrationSource(samples: Samples): CalibrationSource {
  const { count, batchable } = samples
  let ahead: { readonly first: number; readonly size: number; readonly feeds: Feeds } | undefined
  let sampleBytes: number | undefined

  async function batch(indices: readonly number[]): Promise<Feeds> {
    const [first = 0] = indices
    const size = indices.length
    if (!batchable) return await samples.feeds(first, size)
    if (ahead === undefined || first < ahead.first || first + size > ahead.first + ahead.size) {
      sampleBytes ??= sizeBytes(await samples.feeds(first, 1))
      const affordable = Math.min(Math.floor(AHEAD_BYTES / sampleBytes), count - first)
      if (affordable <= size) return await samples.feeds(first, size)
      ahead = { first, size: affordable, feeds: await samples.feeds(first, affordable) }
    }
    return rowsOf(ahead.feeds, first - ahead.first, size)
  }

  return { count, batchable, batch }
}

function sizeBytes(feeds: Feeds): number {
  return Math.max(
    1,
    Object.values(feeds).reduce((sum, { data }) => sum + data.byteLength, 0),
  )
}

function rowsOf(feeds: Feeds, first: number, count: number): Feeds {
  return Object.fromEntries(
    Object.entries(feeds).map(([name, { type, dims, data }]): [string, FeedTensor] => {
      const length = data.length / (dims[0] ?? 1)
      const rows = data.slice(first * length, (first + count) * length)
      return [name, { type, dims: [count, ...dims.slice(1)], data: rows }]
    }),
  )
}
