import type { Model } from '@edgefit/shared/onnx'
import { batchOrder } from './batches.ts'
import { watchLoss } from './divergence.ts'
import type { TrainingPlan } from './plan.ts'
import { type Numbers, openStep, type StepPorts } from './run-step.ts'
import { rateFactor } from './schedule.ts'
import type { StampedFile } from './stamped-file.ts'
import { buildStep, type TrainingStep } from './step/build-step.ts'
import type { TrainableWeight } from './trainable.ts'
import { requireLabels } from './training-data.ts'
import {
  backedOff,
  looked,
  startOfTraining,
  type TrainingLook,
  type TrainingState,
  updated,
  weightsOf,
} from './training-state.ts'

/** What is trained. */
export interface Trainee {
  /** float32, or with weights and activations that are quantized and dequantized on their way. */
  readonly model: Model
  /** Initializers of `model`. */
  readonly trainable: readonly TrainableWeight[]
  /** Values through which no gradient flows. */
  readonly barriers?: ReadonlySet<string>
}

export interface TrainingPorts extends StepPorts {
  /** How good the model is on the tuning split with these weights; more is better. */
  readonly judge: (weights: Numbers) => Promise<number>
  readonly checkpoints?: StampedFile<TrainingState>
  readonly monotonicNow: () => number
  /** Why training has to end now with what it has: time, heat, memory. Asked after every update. */
  readonly exhausted?: (elapsedMs: number) => string | undefined
  readonly onProgress?: (progress: TrainingProgress) => void
}

export interface TrainingProgress {
  readonly update: number
  readonly updates: number
  readonly loss: number
  /** The best on the tuning split so far. */
  readonly bestScore: number
  readonly remainingMs: number
}

export interface Trained {
  /** Those that did best on the tuning split, by name. */
  readonly weights: Numbers
  readonly initialScore: number
  readonly bestScore: number
  readonly bestUpdate: number
  readonly updates: number
  readonly history: readonly TrainingLook[]
  readonly elapsedMs: number
  /** For people: why it ended early, rates that were halved, weights that stayed and why. */
  readonly notes: readonly string[]
}

const CHECKPOINT_EVERY_MS = 20_000

/**
 * Trains by `plan`, and keeps the weights that do best on the tuning split. The same model, plan and data give
 * the same weights on the same class of hardware, however often the run was interrupted in between.
 *
 * @throws EdgefitError PASS_FAILED when training gets out of hand however small its rate; DATASET_MISMATCH and
 * DATASET_INVALID for data that do not fit; what `buildStep` and the runtime throw; the signal's reason.
 */
export async function train(
  trainee: Trainee,
  plan: TrainingPlan,
  ports: TrainingPorts,
  signal: AbortSignal,
): Promise<Trained> {
  const step = buildStep({ ...plan, ...trainee })
  requireLabels(step.inputs, ports.data)
  const order = batchOrder(ports.data.count, plan.batch, plan.seed)
  const startedMs = ports.monotonicNow()
  let state = (await ports.checkpoints?.read()) ?? (await startOfTraining(trainee.model, step, plan, ports.judge))
  const { update: firstUpdate, elapsedMs: earlierMs } = state
  const watch = watchLoss(state.loss)
  const runner = await openStep(step, plan, ports)
  let savedMs = startedMs
  let ended: string | undefined
  try {
    while (ended === undefined && state.update < plan.updates && state.looksWithoutBetter < plan.patience) {
      signal.throwIfAborted()
      const next = state.update + 1
      const rate = plan.learningRate * rateFactor(plan.schedule, state.update, plan.updates) * 0.5 ** state.halvings
      const { carried, loss, gradientNorm } = await runner.update(state.carried, batchesOf(plan, order, state.update), {
        update: next,
        rate,
      })
      const wrong = watch.see(loss, gradientNorm)
      if (wrong !== undefined) watch.restart()
      state = wrong === undefined ? updated(state, next, carried, step, plan) : backedOff(state, next, wrong)
      if (next % plan.evaluateEvery === 0 || next === plan.updates) {
        const weights = weightsOf(step, state.carried)
        state = looked(state, plan, weights, {
          update: next,
          loss: meanOf(watch.state().recent),
          score: await ports.judge(weights),
        })
      }
      const nowMs = ports.monotonicNow()
      state = { ...state, loss: watch.state(), elapsedMs: earlierMs + nowMs - startedMs }
      ended = ports.exhausted?.(state.elapsedMs)
      const remainingMs = ((nowMs - startedMs) / (next - firstUpdate)) * (plan.updates - next)
      ports.onProgress?.({ update: next, updates: plan.updates, loss, bestScore: state.best.score, remainingMs })
      if (nowMs - savedMs >= CHECKPOINT_EVERY_MS) {
        savedMs = nowMs
        await ports.checkpoints?.write(state)
      }
    }
  } finally {
    await runner.release()
  }
  // Whoever asks for the same run again gets its end at once.
  await ports.checkpoints?.write(state)
  return {
    weights: state.best.weights,
    initialScore: state.history[0]?.score ?? Number.NaN,
    bestScore: state.best.score,
    bestUpdate: state.best.update,
    updates: state.update,
    history: state.history,
    elapsedMs: state.elapsedMs,
    notes: notesOf(state, plan, step, ended),
  }
}

/** The samples of each batch of an update. */
function batchesOf(
  { accumulation }: TrainingPlan,
  order: (batch: number) => readonly number[],
  update: number,
): readonly (readonly number[])[] {
  return Array.from({ length: accumulation }, (_, at) => order(update * accumulation + at))
}

function meanOf(values: readonly number[]): number | null {
  return values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length
}

function notesOf(
  { update, halvings, looksWithoutBetter }: TrainingState,
  { updates, patience }: TrainingPlan,
  { frozen }: TrainingStep,
  ended: string | undefined,
): readonly string[] {
  return [
    ...(ended === undefined ? [] : [`training ended after ${update} of ${updates} updates: ${ended}`]),
    ...(looksWithoutBetter < patience || update === updates
      ? []
      : [
          `training ended after ${update} of ${updates} updates: ${patience} looks at the tuning split without a better score`,
        ]),
    ...(halvings === 0 ? [] : [`training got out of hand ${halvings} times; the rate was halved each time`]),
    ...[...frozen].map(([weight, reason]) => `"${weight}" was not trained: ${reason}`),
  ]
}
