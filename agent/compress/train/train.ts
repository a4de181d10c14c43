import type { Model } from '@edgefit/shared/onnx'
import { batchOrder } from './batches.ts'
import { watchLoss } from './divergence.ts'
import type { TrainingPlan } from './plan.ts'
import { type Numbers, openStep, type StepPorts, type StepRunner } from './run-step.ts'
import { rateFactor } from './schedule.ts'
import { settledAt } from './sparsity.ts'
import { type StampedFile, writtenWhereItFits } from './stamped-file.ts'
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
  /** When time began to count, by `monotonicNow`; absent: now. */
  readonly startedMs?: number
  /** Why training has to end now with what it has, after so much time in all runs. Asked before every update. */
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
  /** Those that did best on the tuning split, or the last where penalties press on them, by name. */
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
/** Times the duration of the last checkpoint, until the next: they may take a twentieth of the time. */
const CHECKPOINT_SPACING = 20

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
  const { startedMs = ports.monotonicNow() } = ports
  const saved = await ports.checkpoints?.read()
  const earlierMs = saved?.elapsedMs ?? 0
  let state: TrainingState = saved ?? {
    ...(await startOfTraining(trainee.model, step, plan, ports.judge)),
    elapsedMs: ports.monotonicNow() - startedMs,
  }
  const { update: firstUpdate } = state
  const watch = watchLoss(state.loss)
  let runner: StepRunner | undefined
  let nextCheckpointMs = startedMs + CHECKPOINT_EVERY_MS
  let unwritten: string | undefined
  let ended: string | undefined
  try {
    while (state.update < plan.updates && state.looksWithoutBetter < plan.patience) {
      signal.throwIfAborted()
      ended = ports.exhausted?.(state.elapsedMs)
      if (ended !== undefined) break
      runner ??= await openStep(step, plan, ports)
      const next = state.update + 1
      const rate = plan.learningRate * rateFactor(plan.schedule, state.update, plan.updates) * 0.5 ** state.halvings
      const { carried, loss, gradientNorm } = await runner.update(state.carried, batchesOf(plan, order, state.update), {
        updateOfOptimizer: state.updatesOfOptimizer + 1,
        rate,
      })
      const looks = next % plan.evaluateEvery === 0 || next === plan.updates
      // Loss and gradients are those before the update; what it made of the weights shows in the next, or here.
      const wrong = watch.see(loss, gradientNorm) ?? (looks ? whatIsNotFinite(carried) : undefined)
      if (wrong !== undefined) watch.restart()
      state =
        wrong === undefined ? updated(state, next, carried, step, plan) : backedOff(state, next, wrong, step, plan)
      if (looks) {
        const weights = weightsOf(step, state.carried)
        state = looked(state, plan, weights, {
          update: next,
          loss: meanOf(watch.state().recent),
          score: await ports.judge(weights),
        })
      }
      const nowMs = ports.monotonicNow()
      state = { ...state, loss: watch.state(), elapsedMs: earlierMs + nowMs - startedMs }
      if (nowMs >= nextCheckpointMs) {
        unwritten = await writtenWhereItFits(ports.checkpoints, state)
        const writtenMs = ports.monotonicNow()
        nextCheckpointMs = writtenMs + Math.max(CHECKPOINT_EVERY_MS, CHECKPOINT_SPACING * (writtenMs - nowMs))
      }
      const remainingMs = ((nowMs - startedMs) / (next - firstUpdate)) * (plan.updates - next)
      ports.onProgress?.({ update: next, updates: plan.updates, loss, bestScore: state.best.score, remainingMs })
    }
  } finally {
    await runner?.release()
  }
  // Whoever asks for the same run again gets its end at once.
  if (runner !== undefined) unwritten = await writtenWhereItFits(ports.checkpoints, state)
  return {
    weights: state.best.weights,
    initialScore: state.history[0]?.score ?? Number.NaN,
    bestScore: state.best.score,
    bestUpdate: state.best.update,
    updates: state.update,
    history: state.history,
    elapsedMs: state.elapsedMs,
    notes: [
      ...notesOf(state, plan, step, ended),
      ...(unwritten === undefined ? [] : [`training cannot go on from here after a crash: ${unwritten}`]),
    ],
  }
}

function whatIsNotFinite(carried: Numbers): string | undefined {
  for (const [name, values] of carried) {
    if (!values.every(Number.isFinite)) return `"${name}" got numbers that are not finite`
  }
  return undefined
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
  { update, halvings, looksWithoutBetter, best }: TrainingState,
  { updates, patience, sparsity }: TrainingPlan,
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
    ...(sparsity === undefined || best.update >= settledAt(sparsity, updates)
      ? []
      : [
          `the weights are those after update ${best.update}, and not as sparse as the recipe wants: training ended before ` +
            'it had looked at sparser ones; give it more time, or fewer "updates"',
        ]),
    ...(halvings === 0 ? [] : [`training got out of hand ${halvings} times; the rate was halved each time`]),
    ...[...frozen].map(([weight, reason]) => `"${weight}" was not trained: ${reason}`),
  ]
}
