import { EdgefitError } from '@edgefit/shared'
import { needsLabels } from '@edgefit/shared/model'
import type { FeedTensor } from '../runtime-port.ts'
import type { Loss } from './step/losses.ts'
import type { StepInput } from './step/step-emitter.ts'

/** Samples to train on. Asked again for the same samples it gives the same values. */
export interface TrainingData {
  readonly count: number
  readonly hasLabels: boolean
  /** What the model is fed for these samples together. */
  feeds(indices: readonly number[]): Promise<Readonly<Record<string, FeedTensor>>>
  /** Row after row. */
  labels(indices: readonly number[]): Promise<Float64Array>
}

/**
 * Labels as the loss takes them.
 *
 * @param classes how many classes the model tells apart, where labels are class numbers
 * @throws EdgefitError DATASET_MISMATCH for labels that are no class numbers, or not as many numbers as the model gives.
 */
export function labelFeed(input: StepInput, labels: Float64Array, classes: number): FeedTensor {
  const count = input.dims.reduce((product, dim) => product * dim, 1)
  if (labels.length !== count) {
    throw new EdgefitError(
      `${labels.length} labels were given for a batch that takes ${count}; the loss needs ${count / (input.dims[0] ?? 1)} a sample`,
      { code: 'DATASET_MISMATCH', details: { given: labels.length, expected: count } },
    )
  }
  const dims = input.dims
  if (input.dataType === 'FLOAT') return { type: 'float32', dims, data: Float32Array.from(labels) }
  const wrong = labels.find((label) => !Number.isInteger(label) || label < 0 || label >= classes)
  if (wrong !== undefined) {
    throw new EdgefitError(
      `label ${wrong} is no class of a model with ${classes}: labels are whole numbers from 0 to ${classes - 1}`,
      {
        code: 'DATASET_MISMATCH',
        details: { label: wrong, classes },
      },
    )
  }
  return { type: 'int64', dims, data: BigInt64Array.from(labels, BigInt) }
}

/** @throws EdgefitError DATASET_MISMATCH when the loss needs labels and there are none. */
export function requireLabels(loss: Loss, data: Pick<TrainingData, 'hasLabels'>): void {
  if (data.hasLabels || !needsLabels({ loss })) return
  throw new EdgefitError(
    'the loss needs labels and the dataset has none; add an array "labels", or distil with "mixing" 1, which needs none',
    { code: 'DATASET_MISMATCH' },
  )
}
