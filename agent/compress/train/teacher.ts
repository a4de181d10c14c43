import { EdgefitError } from '@edgefit/shared'
import { editGraph, encodeModel, freeInputs, type Model, type ValueInfo } from '@edgefit/shared/onnx'
import type { FeedTensor, OpenSession, OutputTensor } from '../runtime-port.ts'
import { createCheckpoints } from './checkpoints.ts'
import { drawnData } from './drawn-data.ts'
import type { TrainingPlan } from './plan.ts'
import type { Teacher } from './run-step.ts'
import type { StampedFile } from './stamped-file.ts'
import { scoresOf } from './step/build-step.ts'
import { type Hint, hintInput, TEACHER_INPUT } from './step/losses.ts'
import type { TrainingData } from './training-data.ts'

export interface TeacherOptions {
  readonly model: Model
  readonly data: TrainingData
  /** Of the run that learns from it. */
  readonly plan: Pick<TrainingPlan, 'batch' | 'seed' | 'augmentation' | 'updates' | 'accumulation'>
  readonly openSession: OpenSession
  readonly threads: number
}

export interface AskingOptions extends TeacherOptions {
  /** Where its answers are kept between runs. */
  readonly cache?: StampedFile<TeacherAnswers>
  readonly monotonicNow: () => number
  /** Why there is no time to ask any further. */
  readonly spent?: () => string | undefined
  /** After every batch. */
  readonly onProgress?: (samples: number, total: number) => void
  readonly signal: AbortSignal
}

export interface TeacherAnswers {
  readonly width: number
  /** One row of scores a sample; NaN where it was not asked. */
  readonly scores: Float32Array
}

/**
 * A teacher that is asked beforehand, once for every sample that the run will draw; what it said in earlier runs it is not
 * asked again. For samples that stay as they are.
 *
 * @throws EdgefitError TRIAL_FAILED when time is spent before it is done; DATASET_MISMATCH when its answers are no rows of
 * finite scores; RECIPE_INVALID when it takes other inputs than the samples are; what the runtime throws; the signal's
 * reason.
 */
export async function knowingTeacher(options: AskingOptions): Promise<Teacher> {
  const { data, plan, signal } = options
  const { sampleAt } = drawnData(data, plan)
  const { scores, width } = await answersFor(samplesDrawn(sampleAt, data.count, plan, signal), options)
  return (turns) => {
    const rows = new Float32Array(turns.length * width)
    for (const [row, sample] of turns.map(sampleAt).entries()) {
      rows.set(scores.subarray(sample * width, (sample + 1) * width), row * width)
    }
    return { [TEACHER_INPUT]: { type: 'float32', dims: [turns.length, width], data: rows } }
  }
}

function samplesDrawn(
  sampleAt: (turn: number) => number,
  count: number,
  { updates, accumulation, batch }: TeacherOptions['plan'],
  signal: AbortSignal,
): ReadonlySet<number> {
  const drawn = new Set<number>()
  for (let turn = 0; turn < updates * accumulation * batch && drawn.size < count; turn++) {
    if (turn % batch === 0) signal.throwIfAborted()
    drawn.add(sampleAt(turn))
  }
  return drawn
}

async function answersFor(samples: ReadonlySet<number>, options: AskingOptions): Promise<TeacherAnswers> {
  const { data, model, plan, cache, monotonicNow, spent, onProgress, signal } = options
  const before = await cache?.read()
  const isKnown = (sample: number): boolean =>
    before !== undefined && !Number.isNaN(before.scores[sample * before.width])
  const asked = [...samples].filter((sample) => !isKnown(sample))
  if (before !== undefined && asked.length === 0) return before
  const value = scoresOf(model.graph, { kind: 'distillation' })
  const session = await sessionFor(options, [value], plan.batch)
  const kept = createCheckpoints(cache, monotonicNow, monotonicNow())
  let answers = before
  let done = 0
  try {
    for (const { places, indices } of batchesByPlace(asked, plan.batch)) {
      signal.throwIfAborted()
      const ended = spent?.()
      if (ended !== undefined) throw stillAsking(ended, done, asked.length)
      const rows = scoreRows((await session.run(await data.feeds(indices)))[value], value, indices)
      const width = rows.length / indices.length
      answers ??= { width, scores: new Float32Array(width * data.count).fill(Number.NaN) }
      for (const place of places) {
        answers.scores.set(rows.subarray(place * width, (place + 1) * width), (indices[place] ?? 0) * width)
      }
      done += places.length
      onProgress?.(done, asked.length)
      await kept.keepWhenDue(answers)
    }
    if (answers === undefined) throw new RangeError('a run draws one sample at least')
    return answers
  } finally {
    await session.release()
    if (done > 0 && answers !== undefined) await kept.keep(answers)
  }
}

function stillAsking(ended: string, done: number, total: number): EdgefitError {
  return new EdgefitError(
    `nothing was trained: ${ended} when the teacher had been asked about ${done} of ${total} samples. What it said is ` +
      'kept: try again, raise the budget, or make fewer "updates"',
    { code: 'TRIAL_FAILED', details: { reason: 'timeout', done, total } },
  )
}

interface AskedBatch {
  readonly indices: readonly number[]
  /** Where in the batch there are samples that are asked; at the others anything fills up. */
  readonly places: readonly number[]
}

/**
 * A sample comes at the same place whichever others are asked: kernels may round by place, and what the teacher says of a
 * sample must not depend on what earlier runs have asked.
 */
function batchesByPlace(samples: readonly number[], size: number): readonly AskedBatch[] {
  const queues = Array.from({ length: size }, (): number[] => [])
  for (const sample of samples) queues[sample % size]?.push(sample)
  const rounds = Math.max(...queues.map((queue) => queue.length))
  return Array.from({ length: rounds }, (_, round) => ({
    indices: queues.map((queue, place) => queue[round] ?? place),
    places: queues.flatMap((queue, place) => (queue[round] === undefined ? [] : [place])),
  }))
}

/**
 * A teacher that is asked for every batch: intermediate values of all samples would fill the disk, and samples that change
 * are new each time.
 *
 * @param hints what is asked, by value of the student; `from` is a value that the teacher has, of the same shape
 * @param parts in which batches go through
 * @throws EdgefitError RECIPE_INVALID when it takes other inputs than the samples are; asked, DATASET_MISMATCH for scores
 * that are not finite.
 */
export async function presentTeacher(
  options: TeacherOptions,
  hints: readonly (Hint & { readonly from: string })[],
  parts = 1,
): Promise<Teacher & { release(): Promise<void> }> {
  const value = scoresOf(options.model.graph, { kind: 'distillation' })
  const session = await sessionFor(options, [value, ...hints.map(({ from }) => from)], options.plan.batch / parts)
  const { sampleAt } = drawnData(options.data, options.plan)
  const ask: Teacher = async (turns, feeds) => {
    const outputs = await session.run(feeds)
    const feed = (from: string): FeedTensor => {
      const data = floatsOf(outputs[from], from)
      return { type: 'float32', dims: outputs[from]?.dims ?? [], data }
    }
    scoreRows(outputs[value], value, turns.map(sampleAt))
    return {
      [TEACHER_INPUT]: feed(value),
      ...Object.fromEntries(hints.map((hint) => [hintInput(hint.value), feed(hint.from)])),
    }
  }
  return Object.assign(ask, { release: () => session.release() })
}

async function sessionFor(
  { model, data, openSession, threads }: TeacherOptions,
  values: readonly string[],
  batch: number,
): ReturnType<OpenSession> {
  const outputs = [...new Set(values)].map((name) => ({ name }))
  const editor = editGraph({ ...model.graph, outputs })
  editor.prune()
  const graph = editor.build()
  const inputs = freeInputs(graph)
  const feeds = await data.feeds(Array.from({ length: batch }, (_, at) => at))
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
      `[${feed.dims.join(', ')}]; give a teacher with the same inputs. Where its batch is fixed, set "batch" to that, and no ` +
      '"maxMemoryMib" that divides it',
    { code: 'RECIPE_INVALID', details: { input: name, teacher: dims, samples: feed.dims } },
  )
}

/** @throws EdgefitError DATASET_MISMATCH when they are no finite scores, a row for each of `samples`. */
function scoreRows(output: OutputTensor | undefined, value: string, samples: readonly number[]): Float32Array {
  const rows = floatsOf(output, value)
  if (output?.dims[0] !== samples.length) {
    throw new EdgefitError(
      `the teacher gives "${value}" as [${output?.dims.join(', ')}] for ${samples.length} samples; give one that answers row by row`,
      { code: 'DATASET_MISMATCH', details: { value, samples: samples.length } },
    )
  }
  const wrong = rows.findIndex((score) => !Number.isFinite(score))
  if (wrong === -1) return rows
  const sample = samples[Math.floor(wrong / (rows.length / samples.length))]
  throw new EdgefitError(
    `the teacher says ${rows[wrong]} of training sample ${sample}; give another teacher, or data that it can judge`,
    { code: 'DATASET_MISMATCH', details: { value, sample } },
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
