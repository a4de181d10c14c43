import { EdgefitError } from '@edgefit/shared'
import { editGraph, encodeModel, freeInputs, type Model, type ValueInfo } from '@edgefit/shared/onnx'
import type { FeedTensor, OpenSession, OutputTensor } from '../runtime-port.ts'
import type { Teacher } from './run-step.ts'
import { type StampedFile, writtenWhereItFits } from './stamped-file.ts'
import { scoresOf } from './step/build-step.ts'
import { type Hint, hintInput, TEACHER_INPUT } from './step/losses.ts'
import type { TrainingData } from './training-data.ts'

export interface TeacherOptions {
  readonly model: Model
  readonly data: TrainingData
  readonly openSession: OpenSession
  readonly threads: number
  /** Samples at a time; where the batch of the model is fixed, that size. */
  readonly batch: number
  /** Where its answers are kept between runs. */
  readonly cache?: StampedFile<TeacherAnswers>
  /** After every batch of the one time that it is asked for all samples. */
  readonly onProgress?: (samples: number, total: number) => void
  readonly signal: AbortSignal
}

export interface TeacherAnswers {
  readonly width: number
  /** One row of scores a sample. */
  readonly scores: Float32Array
}

/**
 * A teacher that is asked once: its scores of all samples are computed at the first question of the first run, kept, and
 * looked up from then on.
 *
 * @throws EdgefitError DATASET_MISMATCH when its answers are no rows of scores; RECIPE_INVALID when it takes other inputs
 * than the samples are; what the runtime throws.
 */
export async function knowingTeacher(options: TeacherOptions): Promise<Teacher> {
  const { scores, width } = (await options.cache?.read()) ?? (await askedOnce(options))
  return (indices) => {
    const data = new Float32Array(indices.length * width)
    for (const [row, sample] of indices.entries()) {
      data.set(scores.subarray(sample * width, (sample + 1) * width), row * width)
    }
    return { [TEACHER_INPUT]: { type: 'float32', dims: [indices.length, width], data } }
  }
}

async function askedOnce(options: TeacherOptions): Promise<TeacherAnswers> {
  const { data, model, batch, onProgress, signal } = options
  const value = scoresOf(model.graph, { kind: 'distillation' })
  const session = await sessionFor(options, [value])
  try {
    let width = 0
    let scores = new Float32Array()
    for (let start = 0; start < data.count; start += batch) {
      signal.throwIfAborted()
      // The last batch is filled up with samples from before: the teacher may know one size only.
      const first = Math.max(0, Math.min(start, data.count - batch))
      const indices = Array.from({ length: Math.min(batch, data.count) }, (_, at) => first + at)
      const rows = floatsOf((await session.run(await data.feeds(indices)))[value], value)
      if (width === 0) {
        width = rows.length / indices.length
        scores = new Float32Array(width * data.count)
      }
      scores.set(rows, first * width)
      onProgress?.(Math.min(start + batch, data.count), data.count)
    }
    const answers = { width, scores }
    await writtenWhereItFits(options.cache, answers)
    return answers
  } finally {
    await session.release()
  }
}

/**
 * A teacher that is asked for every batch: intermediate values of all samples would fill the disk.
 *
 * @param hints what is asked, by value of the student; `from` is a value that the teacher has, of the same shape
 * @throws EdgefitError RECIPE_INVALID when it takes other inputs than the samples are.
 */
export async function presentTeacher(
  options: TeacherOptions,
  hints: readonly (Hint & { readonly from: string })[],
): Promise<Teacher & { release(): Promise<void> }> {
  const value = scoresOf(options.model.graph, { kind: 'distillation' })
  const session = await sessionFor(options, [value, ...hints.map(({ from }) => from)])
  const ask: Teacher = async (indices) => {
    const outputs = await session.run(await options.data.feeds(indices))
    const feed = (from: string): FeedTensor => {
      const data = floatsOf(outputs[from], from)
      return { type: 'float32', dims: outputs[from]?.dims ?? [], data }
    }
    return {
      [TEACHER_INPUT]: feed(value),
      ...Object.fromEntries(hints.map((hint) => [hintInput(hint.value), feed(hint.from)])),
    }
  }
  return Object.assign(ask, { release: () => session.release() })
}

async function sessionFor(
  { model, data, batch, openSession, threads }: TeacherOptions,
  values: readonly string[],
): ReturnType<OpenSession> {
  const outputs = [...new Set(values)].map((name) => ({ name }))
  const editor = editGraph({ ...model.graph, outputs })
  editor.prune()
  const graph = editor.build()
  const inputs = freeInputs(graph)
  const feeds = await data.feeds(Array.from({ length: Math.min(batch, data.count) }, (_, at) => at))
  for (const input of inputs) requireFeed(input, feeds[input.name])
  const session = await openSession(encodeModel({ ...model, graph }), { graphOptimization: 'all', threads })
  const taken = new Set(inputs.map(({ name }) => name))
  return {
    run: (given) => session.run(Object.fromEntries(Object.entries(given).filter(([name]) => taken.has(name)))),
    release: () => session.release(),
  }
}

function requireFeed({ name, type }: ValueInfo, feed: FeedTensor | undefined): void {
  if (feed === undefined) {
    throw new EdgefitError(
      `the teacher takes an input "${name}", which the model trained does not have; give a teacher with the same inputs`,
      { code: 'RECIPE_INVALID', details: { input: name } },
    )
  }
  const dims = type?.kind === 'tensor' ? type.shape : undefined
  const fits = (dim: unknown, at: number): boolean => typeof dim !== 'number' || dim === feed.dims[at]
  if (dims === undefined || (dims.length === feed.dims.length && dims.every(fits))) return
  throw new EdgefitError(
    `the teacher takes [${dims.map((dim) => dim ?? '?').join(', ')}] as "${name}", and a batch of samples is ` +
      `[${feed.dims.join(', ')}]; give a teacher with the same inputs, or set "batch" to what it is fixed to`,
    { code: 'RECIPE_INVALID', details: { input: name, teacher: dims, samples: feed.dims } },
  )
}

function floatsOf(output: OutputTensor | undefined, value: string): Float32Array {
  if (output?.data instanceof Float32Array) return output.data
  throw new EdgefitError(
    `the teacher gives ${output?.type ?? 'nothing'} for "${value}", not float32; choose another value`,
    {
      code: 'DATASET_MISMATCH',
      details: { value },
    },
  )
}
