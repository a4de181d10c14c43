import { EdgefitError } from '@edgefit/shared'
import { digestBytes } from '@edgefit/shared/artifact'
import type { Pass, Training } from '@edgefit/shared/model'
import { encodeModel, type Model } from '@edgefit/shared/onnx'
import type { PassResult } from '../pass-report.ts'
import type { OpenSession } from '../runtime-port.ts'
import { simplify } from '../simplify.ts'
import type { Thermometer } from './cool-down.ts'
import type { TrainingProgress } from './progress.ts'
import { withRemovableChannels } from './removable-channels.ts'
import type { Numbers } from './run-step.ts'
import { type StampedFile, stampedFile } from './stamped-file.ts'
import type { TeacherAnswers } from './teacher.ts'
import { isTaught, requireFittingTeacher } from './teacher-fit.ts'
import { teachingFor } from './teaching.ts'
import { type Trained, type Trainee, train } from './train.ts'
import { trainableWeights } from './trainable.ts'
import type { TrainingData } from './training-data.ts'
import { keepsLast, type TrainingState } from './training-state.ts'
import { withWeights } from './with-weights.ts'

type FineTunePass = Extract<Pass, { pass: 'fine-tune' }>

/** What passes that train are given to train with. */
export interface TrainingPort {
  readonly data: TrainingData
  /** How good a model is on the tuning split; more is better. Tells how much of it is done. */
  readonly judge: (model: Model, onShare: (share: number) => void) => Promise<number>
  /** Where runs keep what lets them go on after a crash; names of files begin so. */
  readonly scratchPath: string
  /** As `scratchPath`, for the answers of teachers, which other runs want too. Absent: as `scratchPath`. */
  readonly teacherPath?: string
  /** Names what comes through this port, judgement and runtime with it: a run goes on only with the same. */
  readonly dataKey: string
  readonly monotonicNow: () => number
  readonly thermometer?: Thermometer
  /** Of the process that trains, so far. */
  readonly peakRssBytes?: () => number | undefined
}

export interface TrainingContext {
  readonly port: TrainingPort | undefined
  /** What distillation learns from. */
  readonly teacher: Model
  readonly openSession: OpenSession
  readonly threads: number
  readonly onProgress: (progress: TrainingProgress) => void
  readonly signal: AbortSignal
}

/**
 * Trains a float32 model as the pass says.
 *
 * @throws EdgefitError what `train` throws; DATASET_INVALID when there is nothing to train on.
 */
export async function applyFineTune(given: Model, pass: FineTunePass, context: TrainingContext): Promise<PassResult> {
  const { pass: _, ...training } = pass
  const model = simplify(given)
  const trainable = withRemovableChannels(model, trainableWeights(model, pass.trainable), pass.penalties)
  const trained = await trainWith({ model, trainable }, training, (weights) => withWeights(model, weights), context)
  return { model: withWeights(model, trained.weights), notes: notesOn(trained, pass) }
}

/**
 * Trains `trainee`, or goes on where an earlier run of the same left off.
 *
 * @param exported the model that is judged: with these weights, in the form in which it will run
 * @throws EdgefitError what `train` throws; DATASET_INVALID when there is nothing to train on.
 */
export async function trainWith(
  trainee: Trainee,
  training: Training,
  exported: (weights: Numbers) => Model,
  { port, teacher, openSession, threads, onProgress, signal }: TrainingContext,
): Promise<Trained> {
  if (port === undefined) {
    throw new EdgefitError('training needs a dataset, and a task that says what the outputs mean; give both', {
      code: 'DATASET_INVALID',
    })
  }
  const startedMs = port.monotonicNow()
  const { maxDurationMs, pauseAboveCelsius, ...plan } = training
  const taught = isTaught(training)
  if (taught) requireFittingTeacher(training, teacher, trainee.model)
  const taughtBy = taught ? digestOf(teacher) : ''
  const file = <Value>(path: string, ...names: readonly (string | number)[]): StampedFile<Value> => {
    const key = digestBytes(Buffer.from(JSON.stringify([FILE_FORMAT, port.dataKey, threads, ...names])))
    return stampedFile<Value>(`${path}.${key.slice(0, KEY_LENGTH)}`, key)
  }
  const teaching = teachingFor(training, {
    model: teacher,
    data: port.data,
    plan,
    openSession,
    threads,
    cache: file<TeacherAnswers>(port.teacherPath ?? port.scratchPath, 'teacher', taughtBy, plan.batch),
    monotonicNow: port.monotonicNow,
    onProgress: (samples, total) => onProgress({ doing: 'asking', samples, total }),
    signal,
  })
  try {
    return await train(
      trainee,
      plan,
      {
        data: port.data,
        judge: (weights, onShare) => port.judge(exported(weights), onShare),
        openSession,
        threads,
        checkpoints: file<TrainingState>(
          port.scratchPath,
          'run',
          digestOf(trainee.model),
          JSON.stringify(plan),
          taughtBy,
        ),
        monotonicNow: port.monotonicNow,
        startedMs,
        exhausted: (elapsedMs) =>
          maxDurationMs !== undefined && elapsedMs >= maxDurationMs
            ? `the time budget of ${maxDurationMs / 1000} s is spent`
            : undefined,
        pauseAboveCelsius,
        ...(port.thermometer && { thermometer: port.thermometer }),
        ...(port.peakRssBytes && { peakRssBytes: port.peakRssBytes }),
        onProgress,
        openTeacher: teaching.open,
      },
      signal,
    )
  } finally {
    await teaching.release()
  }
}

const KEY_LENGTH = 16
/** To be raised when training comes to mean something else, or its state to look otherwise. */
const FILE_FORMAT = 4

function digestOf(model: Model): string {
  return digestBytes(encodeModel(model))
}

/** What a run came to, for people. */
export function notesOn(trained: Trained, training: Training): readonly string[] {
  const { initialScore, bestScore, bestUpdate, updates, elapsedMs, notes } = trained
  const percent = (score: number): string => `${(100 * score).toFixed(2)} %`
  return [
    `trained ${updates} updates in ${(elapsedMs / 1000).toFixed(0)} s${costOf(trained)}: ${percent(initialScore)} on the tuning split before, ` +
      `${percent(bestScore)} ${keepsLast(training) ? 'in the end' : 'at best'}, after update ${bestUpdate}`,
    ...notes,
  ]
}

function costOf({ updateMs, peakMib }: Trained): string {
  const costs = [
    ...(updateMs === undefined ? [] : [`${updateMs.toPrecision(3)} ms each`]),
    ...(peakMib === undefined ? [] : [`the process took ${peakMib.toFixed(0)} MiB at most`]),
  ]
  return costs.length === 0 ? '' : ` (${costs.join(', ')})`
}
