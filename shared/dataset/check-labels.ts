import { EdgefitError } from '../errors.ts'
import type { Task } from '../model/task.ts'
import { classCount, type ModelIo } from './check.ts'
import { type Dataset, LABELS } from './dataset.ts'

const BLOCK_ROWS = 4096

/**
 * Reads all labels and checks their values: class numbers below the number of classes, binary labels 0 or 1. Does
 * nothing without labels or for other tasks.
 *
 * @throws EdgefitError DATASET_MISMATCH naming the first row that is out of range
 */
export async function checkLabels(
  dataset: Dataset,
  { outputs }: Pick<ModelIo, 'outputs'>,
  task: Pick<Task, 'kind'>,
  signal: AbortSignal,
): Promise<void> {
  const classes = task.kind === 'binary-score' ? 2 : classCount(outputs)
  const applies = task.kind === 'classification' || task.kind === 'binary-score'
  if (!dataset.hasLabels || !applies || classes === undefined) return
  for (let start = 0; start < dataset.count; start += BLOCK_ROWS) {
    signal.throwIfAborted()
    const rows = Array.from({ length: Math.min(BLOCK_ROWS, dataset.count - start) }, (_, offset) => start + offset)
    const labels = await dataset.labels(rows)
    const wrong = labels.findIndex((label) => !(label >= 0 && label < classes))
    if (wrong === -1) continue
    const row = start + wrong
    throw new EdgefitError(
      `array "${LABELS}" has ${labels[wrong] ?? ''} in row ${row}; ${task.kind} has labels 0 to ${classes - 1}: ` +
        'number the classes from 0 in the order of the model output',
      { code: 'DATASET_MISMATCH', details: { array: LABELS, row } },
    )
  }
}
