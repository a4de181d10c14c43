import { EdgefitError } from '../errors.ts'
import type { TensorSpec } from '../model/primitives.ts'
import type { Task } from '../model/task.ts'
import { LABELS, type RowSpec } from './dataset.ts'

/** What a model takes and gives, as `describeIo` of shared/onnx tells it. */
export interface ModelIo {
  readonly inputs: readonly TensorSpec[]
  readonly outputs: readonly TensorSpec[]
}

/**
 * How a row becomes a model input.
 *
 * - `batched`: rows are stacked along a new first axis, feed dims are `[rows, ...row]`; `largestBatch` is 1 where the
 *   model fixes it;
 * - `whole`: the input has no batch axis (a scalar, a state): one row is fed as it is, dims are those of the row.
 */
export type RowLayout = { readonly kind: 'batched'; readonly largestBatch: 1 | undefined } | { readonly kind: 'whole' }

/**
 * Checks names, types and shapes of a dataset against a model and what labels its task needs; the values of the labels
 * are for `checkLabels`.
 *
 * @param arrays by name, shapes without the sample axis
 * @param task null when it is not known: any labels will do
 * @throws EdgefitError DATASET_MISMATCH naming the array and the remedy
 */
export function checkDatasetFitsModel(
  arrays: ReadonlyMap<string, RowSpec>,
  { inputs, outputs }: ModelIo,
  task: Pick<Task, 'kind'> | null,
): void {
  const names = inputs.map(({ name }) => `"${name}"`).join(', ')
  for (const input of inputs) {
    const row = arrays.get(input.name)
    if (row === undefined) {
      const have = [...arrays.keys()].map((name) => `"${name}"`).join(', ')
      throw mismatch(input.name, `model input "${input.name}" has no array in the dataset (it has ${have}); name it so`)
    }
    checkType(row, input)
    if (rowLayout(row.shape, input.dims) === undefined) {
      throw mismatch(input.name, shapeFault(row.shape, input))
    }
  }
  const isInput = new Set(inputs.map(({ name }) => name))
  for (const name of arrays.keys()) {
    if (isInput.has(name) || name === LABELS) continue
    throw mismatch(name, `array "${name}" is not an input of the model (${names}) nor "${LABELS}"; rename or remove it`)
  }
  const labels = isInput.has(LABELS) ? undefined : arrays.get(LABELS)
  if (labels !== undefined && task !== null) checkLabelSpec(labels, outputs[0], task.kind)
}

/** Undefined when rows of this shape do not fit the input. Symbolic and unknown dims take any length. */
export function rowLayout(rowShape: readonly number[], dims: TensorSpec['dims']): RowLayout | undefined {
  const [batch, ...rest] = dims
  const batchFits = typeof batch !== 'number' || batch === 1
  if (dims.length > 0 && batchFits && fits(rowShape, rest)) {
    return { kind: 'batched', largestBatch: batch === 1 ? 1 : undefined }
  }
  return fits(rowShape, dims) ? { kind: 'whole' } : undefined
}

/** Number of classes: the last axis of the first output, where the model states it. */
export function classCount(outputs: readonly TensorSpec[]): number | undefined {
  const dims = outputs[0]?.dims ?? []
  const last = dims.at(-1)
  return dims.length >= 2 && typeof last === 'number' ? last : undefined
}

function fits(shape: readonly number[], dims: readonly (number | string | null)[]): boolean {
  return shape.length === dims.length && dims.every((dim, axis) => typeof dim !== 'number' || dim === shape[axis])
}

function checkType(row: RowSpec, input: TensorSpec): void {
  if (row.dtype === input.type) return
  throw mismatch(
    input.name,
    `array "${input.name}" is ${row.dtype}, the model input is ${input.type}; convert it with .astype("${input.type}")`,
  )
}

function shapeFault(rowShape: readonly number[], { name, dims }: TensorSpec): string {
  const [batch, ...rest] = dims
  if (typeof batch === 'number' && batch > 1 && fits(rowShape, rest)) {
    return `model input "${name}" fixes a batch of ${batch}; export the model with a symbolic batch axis, or with 1`
  }
  const expected = typeof batch === 'number' && batch > 1 ? [batch, ...rest] : rest
  return (
    `array "${name}" has shape ${samplesOf(rowShape)}, the model input has ${dimsText(dims)}; ` +
    `reshape it to ${samplesOf(expected)}, samples first`
  )
}

function checkLabelSpec(labels: RowSpec, output: TensorSpec | undefined, kind: Task['kind']): void {
  if (kind === 'custom') return
  const given = samplesOf(labels.shape)
  if (kind === 'regression') {
    const dims = output?.dims
    if (dims && !(rowLayout(labels.shape, dims) ?? (isSingle(labels.shape) && rowLayout([1], dims)))) {
      throw mismatch(
        LABELS,
        `array "${LABELS}" has shape ${given}, the model output "${output?.name ?? ''}" has ${dimsText(dims)}; ` +
          'a regression needs one value an output, samples first',
      )
    }
    return
  }
  if (!isSingle(labels.shape)) {
    throw mismatch(
      LABELS,
      `array "${LABELS}" has shape ${given}; ${kind} needs one label a sample, shape (N,): ` +
        'convert one-hot labels with .argmax(-1)',
    )
  }
  if (labels.dtype.startsWith('float')) {
    throw mismatch(
      LABELS,
      `array "${LABELS}" is ${labels.dtype}; ${kind} needs integers: convert it with .astype("int64")`,
    )
  }
}

function isSingle(shape: readonly number[]): boolean {
  return shape.length === 0 || (shape.length === 1 && shape[0] === 1)
}

function dimsText(dims: TensorSpec['dims']): string {
  return `[${dims.map(dimText).join(', ')}]`
}

/** A shape as NumPy prints it, with the sample axis in front. */
function samplesOf(row: readonly (number | string | null)[]): string {
  return row.length === 0 ? '(N,)' : `(N, ${row.map(dimText).join(', ')})`
}

function dimText(dim: number | string | null): string {
  return dim === null ? '?' : String(dim)
}

function mismatch(array: string, message: string): EdgefitError {
  return new EdgefitError(message, { code: 'DATASET_MISMATCH', details: { array } })
}
