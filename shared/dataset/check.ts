import { EdgefitError } from '../errors.ts'
import type { Task } from '../model/task.ts'
import { LABELS, type RowSpec } from './dataset.ts'
import type { ElementType } from './tensor-array.ts'

/** A model input or output: `dataType` as ONNX names it; in `dims` what is no number is symbolic or unknown. */
export interface ModelValue {
  readonly name: string
  readonly dataType: string
  /** Null when the model does not state the rank. */
  readonly dims: readonly (number | string | null | undefined)[] | null
}

export interface ModelIo {
  readonly inputs: readonly ModelValue[]
  readonly outputs: readonly ModelValue[]
}

/**
 * How a row becomes a model input.
 *
 * - `batched`: rows are stacked along a new first axis, feed dims are `[rows, ...row]`; `largestBatch` is 1 where the
 *   model fixes it;
 * - `whole`: the input has no batch axis (a scalar, a state): one row is fed as it is, dims are those of the row.
 */
export type RowLayout = { readonly kind: 'batched'; readonly largestBatch: 1 | undefined } | { readonly kind: 'whole' }

const ELEMENT_TYPES: Readonly<Record<string, ElementType>> = {
  FLOAT: 'float32',
  DOUBLE: 'float64',
  FLOAT16: 'float16',
  INT8: 'int8',
  UINT8: 'uint8',
  INT16: 'int16',
  UINT16: 'uint16',
  INT32: 'int32',
  UINT32: 'uint32',
  INT64: 'int64',
  UINT64: 'uint64',
  BOOL: 'bool',
}

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
export function rowLayout(rowShape: readonly number[], dims: ModelValue['dims']): RowLayout | undefined {
  if (dims === null) return { kind: 'batched', largestBatch: undefined }
  const [batch, ...rest] = dims
  const batchFits = typeof batch !== 'number' || batch === 1
  if (dims.length > 0 && batchFits && fits(rowShape, rest)) {
    return { kind: 'batched', largestBatch: batch === 1 ? 1 : undefined }
  }
  return fits(rowShape, dims) ? { kind: 'whole' } : undefined
}

/** Number of classes: the last axis of the first output, where the model states it. */
export function classCount(outputs: readonly ModelValue[]): number | undefined {
  const dims = outputs[0]?.dims ?? []
  const last = dims.at(-1)
  return dims.length >= 2 && typeof last === 'number' ? last : undefined
}

function fits(shape: readonly number[], dims: readonly (number | string | null | undefined)[]): boolean {
  return shape.length === dims.length && dims.every((dim, axis) => typeof dim !== 'number' || dim === shape[axis])
}

function checkType(row: RowSpec, input: ModelValue): void {
  const expected = ELEMENT_TYPES[input.dataType]
  if (expected === undefined) {
    throw mismatch(input.name, `model input "${input.name}" is ${input.dataType}, which a dataset cannot hold`)
  }
  if (row.dtype !== expected) {
    throw mismatch(
      input.name,
      `array "${input.name}" is ${row.dtype}, the model input is ${expected}; convert it with .astype("${expected}")`,
    )
  }
}

function shapeFault(rowShape: readonly number[], { name, dims }: ModelValue): string {
  const [batch, ...rest] = dims ?? []
  if (typeof batch === 'number' && batch > 1 && fits(rowShape, rest)) {
    return `model input "${name}" fixes a batch of ${batch}; export the model with a symbolic batch axis, or with 1`
  }
  const expected = typeof batch === 'number' && batch > 1 ? [batch, ...rest] : rest
  return (
    `array "${name}" has shape ${samplesOf(rowShape)}, the model input has ${dimsText(dims)}; ` +
    `reshape it to ${samplesOf(expected)}, samples first`
  )
}

function checkLabelSpec(labels: RowSpec, output: ModelValue | undefined, kind: Task['kind']): void {
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

function dimsText(dims: ModelValue['dims']): string {
  return dims === null ? 'an unknown rank' : `[${dims.map(dimText).join(', ')}]`
}

/** A shape as NumPy prints it, with the sample axis in front. */
function samplesOf(row: readonly (number | string | null | undefined)[]): string {
  return row.length === 0 ? '(N,)' : `(N, ${row.map(dimText).join(', ')})`
}

function dimText(dim: number | string | null | undefined): string {
  return dim === null || dim === undefined ? '?' : String(dim)
}

function mismatch(array: string, message: string): EdgefitError {
  return new EdgefitError(message, { code: 'DATASET_MISMATCH', details: { array } })
}
