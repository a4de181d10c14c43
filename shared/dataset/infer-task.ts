import type { TensorSpec } from '../model/primitives.ts'
import type { Task } from '../model/task.ts'
import { LABELS, type RowSpec } from './dataset.ts'

/**
 * What labels and output tell of the task; undefined where they leave it open, as they do without labels.
 *
 * - integer labels, one a sample, and scores for two or more classes: classification;
 * - integer labels and one score: a binary score, judged by its AUC;
 * - floating-point labels: regression.
 */
export function inferTask(
  arrays: ReadonlyMap<string, RowSpec>,
  { outputs }: { readonly outputs: readonly TensorSpec[] },
): Task | undefined {
  const labels = arrays.get(LABELS)
  const output = outputs[0]
  if (labels === undefined || output === undefined) return undefined
  if (labels.dtype.startsWith('float')) return { kind: 'regression', tolerance: 0.05 }
  const single = labels.shape.length === 0 || (labels.shape.length === 1 && labels.shape[0] === 1)
  const last = output.dims.at(-1)
  if (!single || output.dims.length > 2) return undefined
  if (output.dims.length < 2 || last === 1) return { kind: 'binary-score' }
  return typeof last === 'number' ? { kind: 'classification' } : undefined
}
