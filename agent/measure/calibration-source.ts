import type { CalibrationSource, FeedTensor } from '../compress/index.ts'
import type { Feeds } from './ort-session.ts'
import type { Samples } from './samples.ts'

/** Samples small enough are read together: on their own, the reading would take longer than a small model's run. */
const AHEAD_SAMPLES = 64
const AHEAD_BYTES = 2 ** 20

/** Samples for calibration, one at a time. */
export function calibrationSource(samples: Samples): CalibrationSource {
  const { count, batchable } = samples
  let ahead: { readonly first: number; readonly size: number; readonly feeds: Feeds } | undefined

  async function alone([index = 0]: readonly number[]): Promise<Feeds> {
    if (ahead === undefined || index < ahead.first || index >= ahead.first + ahead.size) {
      const one = await samples.feeds(index, 1)
      const size = batchable ? Math.min(sizeFor(one), count - index) : 1
      if (size === 1) return one
      ahead = { first: index, size, feeds: await samples.feeds(index, size) }
    }
    return rowOf(ahead.feeds, index - ahead.first)
  }

  return { count, batch: alone }
}

function sizeFor(feeds: Feeds): number {
  const sizeBytes = Object.values(feeds).reduce((sum, { data }) => sum + data.byteLength, 1)
  return Math.max(1, Math.min(AHEAD_SAMPLES, Math.floor(AHEAD_BYTES / sizeBytes)))
}

function rowOf(feeds: Feeds, row: number): Feeds {
  return Object.fromEntries(
    Object.entries(feeds).map(([name, { type, dims, data }]): [string, FeedTensor] => {
      const length = data.length / (dims[0] ?? 1)
      return [name, { type, dims: [1, ...dims.slice(1)], data: data.slice(row * length, (row + 1) * length) }]
    }),
  )
}
