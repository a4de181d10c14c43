import { pathToFileURL } from 'node:url'
import { EdgefitError } from '@edgefit/shared'
import type { Task } from '@edgefit/shared/model'
import type { OutputTensor } from '../compress/runtime-port.ts'
import type { Outputs } from './ort-session.ts'

/** One sample's outputs and its label (one number, or a row of them), as a task looks at them. */
interface Sample {
  /** Elements of the first output, and the length of its last axis. */
  readonly row: Float64Array
  readonly lastAxis: number
  readonly outputs: Outputs
  readonly label: Float64Array | null
}

/** What a task reads from a sample. `value` is NaN where the task has none; `right` null where nothing says so. */
interface Score {
  readonly value: number
  readonly right: boolean | null
}

export type Scorer = (sample: Sample) => Score

/** @throws EdgefitError CONFIG_INVALID when a custom module cannot be used */
export async function scorerFor(task: Task): Promise<Scorer> {
  return task.kind === 'custom' ? await customScorer(task.module) : builtInScorer(task)
}

function builtInScorer(task: Exclude<Task, { readonly kind: 'custom' }>): Scorer {
  switch (task.kind) {
    case 'classification':
      return scoreClass
    case 'binary-score':
      return (sample) => scoreBinary(sample, task.threshold)
    case 'regression':
      return ({ row, label }) => ({
        value: Number.NaN,
        right: label === null ? null : relativeError(row, label) <= task.tolerance,
      })
  }
}

function scoreClass({ row, lastAxis, label }: Sample): Score {
  if (row.length !== lastAxis || row.length < 2) {
    throw new EdgefitError(
      `task classification needs one row of at least 2 class scores a sample, the first output has ${row.length} ` +
        `values in rows of ${lastAxis}; use the task custom or binary-score`,
      { code: 'DATASET_MISMATCH' },
    )
  }
  const value = argmax(row)
  return { value, right: label === null ? null : value === label[0] }
}

/** The first of the largest; -1 when a value is NaN: such an answer is never right. */
function argmax(row: Float64Array): number {
  let best = 0
  for (const [index, value] of row.entries()) {
    if (Number.isNaN(value)) return -1
    if (value > (row[best] ?? Number.NEGATIVE_INFINITY)) best = index
  }
  return best
}

function scoreBinary({ row, label }: Sample, threshold: number | undefined): Score {
  // Two columns, negative and positive: their difference ranks as the log-odds do, but is no score to put a limit to.
  if (row.length === 2 && threshold === undefined) return { value: (row[1] ?? 0) - (row[0] ?? 0), right: null }
  const [value] = row
  if (value === undefined || row.length > 1) {
    throw new EdgefitError(
      `task binary-score needs one score a sample, the first output has ${row.length} values; use the task ` +
        'classification, or leave the threshold out where there are two',
      { code: 'DATASET_MISMATCH' },
    )
  }
  if (label === null || threshold === undefined) return { value, right: null }
  // NaN is below no threshold, and so would pass for a no.
  return { value, right: !Number.isNaN(value) && value >= threshold === (label[0] ?? 0) > 0.5 }
}

/** |given - expected| / |expected| in the Euclidean norm; infinite where `expected` is zero and `given` is not. */
export function relativeError(given: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (given.length !== expected.length) {
    throw new EdgefitError(
      `the first output has ${given.length} values a sample, there are ${expected.length} to compare them with; ` +
        'a regression needs one label a value',
      { code: 'DATASET_MISMATCH' },
    )
  }
  let difference = 0
  let size = 0
  for (let index = 0; index < given.length; index += 1) {
    const reference = expected[index] ?? Number.NaN
    difference += ((given[index] ?? Number.NaN) - reference) ** 2
    size += reference ** 2
  }
  return difference === 0 ? 0 : Math.sqrt(difference / size)
}

/** The contract of a metric module: `export function score(outputs, label)`, 1 or true for right. */
async function customScorer(path: string): Promise<Scorer> {
  let loaded: unknown
  try {
    loaded = await import(pathToFileURL(path).href)
  } catch (cause) {
    throw new EdgefitError(`task.module: cannot load ${path}`, { code: 'CONFIG_INVALID', cause })
  }
  const score = loaded !== null && typeof loaded === 'object' && 'score' in loaded ? loaded.score : undefined
  if (typeof score !== 'function') {
    throw new EdgefitError(`task.module: ${path} exports no function score(outputs, label)`, { code: 'CONFIG_INVALID' })
  }
  return ({ outputs, label }) => {
    const given = label !== null && label.length === 1 ? label[0] : (label ?? undefined)
    const verdict: unknown = score(outputs, given)
    if (verdict === true || verdict === 1) return { value: Number.NaN, right: true }
    if (verdict === false || verdict === 0) return { value: Number.NaN, right: false }
    throw new EdgefitError(`task.module: score of ${path} gave ${String(verdict)}, expected 1 (right) or 0 (wrong)`, {
      code: 'CONFIG_INVALID',
    })
  }
}

/** Elements of an output as numbers. @throws EdgefitError MODEL_UNSUPPORTED for float16 */
export function outputNumbers(name: string, { type, data }: OutputTensor): Float64Array {
  if (type === 'float16') {
    throw new EdgefitError(`output ${name} is float16; export the model with a Cast to float32 at its end`, {
      code: 'MODEL_UNSUPPORTED',
    })
  }
  return data instanceof BigInt64Array || data instanceof BigUint64Array
    ? Float64Array.from(data, Number)
    : Float64Array.from(data)
}
