import { EdgefitError } from '@edgefit/shared'
import {
  type Dataset,
  LABELS,
  openDataset,
  type RowLayout,
  rowLayout,
  type SplitIndices,
  splitIndices,
} from '@edgefit/shared/dataset'
import type { SplitSpec, TensorSpec } from '@edgefit/shared/model'
import type { Feeds } from './ort-session.ts'

export interface SamplesRef {
  readonly datasetDir: string
  readonly split: SplitSpec
  readonly which: keyof SplitIndices
}

/** The samples of one part of a dataset, as a model takes them. Positions count from 0 within the part. */
export interface Samples {
  readonly count: number
  readonly hasLabels: boolean
  /** False where some input has no batch axis or one fixed to 1. */
  readonly batchable: boolean
  /** Reads samples `start` to `start + size - 1` as one feed; `size` is 1 unless `batchable`. */
  feeds(start: number, size: number): Promise<Feeds>
  /** Labels of the same samples, row after row. */
  labels(start: number, size: number): Promise<Float64Array>
  close(): Promise<void>
}

/** Samples in any order, several times where wanted. */
export interface IndexedSamples extends Samples {
  /** As {@link Samples.feeds}. */
  feedsAt(positions: readonly number[]): Promise<Feeds>
  /** As {@link Samples.labels}. */
  labelsAt(positions: readonly number[]): Promise<Float64Array>
}

/**
 * @throws EdgefitError as `openDataset` and `splitIndices` do; DATASET_MISMATCH when an array does not fit its input.
 * The full check with all its advice was made when the dataset was accepted.
 */
export async function openSamples(ref: SamplesRef, inputs: readonly TensorSpec[]): Promise<IndexedSamples> {
  const dataset = await openDataset(ref.datasetDir)
  try {
    const rows = splitIndices(dataset.count, ref.split)[ref.which]
    const layouts = inputs.map((input) => ({ input, layout: layoutOf(dataset, input) }))
    const feedsOf = async (indices: Uint32Array): Promise<Feeds> => {
      const feeds: Record<string, Feeds[string]> = {}
      for (const { input, layout } of layouts) {
        const data = await dataset.readRows(input.name, indices)
        const { shape } = specOf(dataset, input)
        const dims = layout.kind === 'batched' ? [indices.length, ...shape] : shape
        feeds[input.name] = { type: input.type, dims, data }
      }
      return feeds
    }
    const rowsAt = (positions: readonly number[]): Uint32Array => Uint32Array.from(positions, (at) => rows[at] ?? 0)
    return {
      count: rows.length,
      // A model may name an input as datasets name their labels.
      hasLabels: dataset.hasLabels && inputs.every(({ name }) => name !== LABELS),
      batchable: layouts.every(({ layout }) => layout.kind === 'batched' && layout.largestBatch === undefined),
      feeds: (start, size) => feedsOf(rows.subarray(start, start + size)),
      labels: (start, size) => dataset.labels(rows.subarray(start, start + size)),
      feedsAt: (positions) => feedsOf(rowsAt(positions)),
      labelsAt: (positions) => dataset.labels(rowsAt(positions)),
      close: () => dataset.close(),
    }
  } catch (error) {
    await dataset.close()
    throw error
  }
}

/** Samples for timing are kept in memory, but few: their memory would count as the model's. */
const POOL_SAMPLES = 64
const POOL_BYTES = 4 << 20

/** The first samples of the part, each on its own. */
export async function samplePool(samples: Samples): Promise<readonly Feeds[]> {
  const pool: Feeds[] = []
  let sizeBytes = 0
  for (let position = 0; position < Math.min(samples.count, POOL_SAMPLES); position += 1) {
    const feeds = await samples.feeds(position, 1)
    sizeBytes += Object.values(feeds).reduce((sum, { data }) => sum + data.byteLength, 0)
    if (pool.length > 0 && sizeBytes > POOL_BYTES) break
    pool.push(feeds)
  }
  return pool
}

function layoutOf(dataset: Dataset, input: TensorSpec): RowLayout {
  const { dtype, shape } = specOf(dataset, input)
  const layout = rowLayout(shape, input.dims)
  if (layout !== undefined && dtype === input.type) return layout
  throw new EdgefitError(
    `array "${input.name}" has rows ${dtype} [${shape.join(', ')}], the model input is ` +
      `${input.type} [${input.dims.map((dim) => dim ?? '?').join(', ')}]; convert the array or choose another dataset`,
    { code: 'DATASET_MISMATCH', details: { array: input.name } },
  )
}

function specOf(dataset: Dataset, { name }: TensorSpec) {
  const spec = dataset.arrays.get(name)
  if (spec !== undefined) return spec
  throw new EdgefitError(`model input "${name}" has no array in the dataset; name one so`, {
    code: 'DATASET_MISMATCH',
    details: { array: name },
  })
}
