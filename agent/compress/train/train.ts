import { EdgefitError } from '@edgefit/shared'
import { asFloat32, type Model } from '@edgefit/shared/onnx'
import { batchOrder } from './batches.ts'
import { watchLoss } from './divergence.ts'
import type { TrainingPlan } from './plan.ts'
import { type Numbers, openStep, type StepPorts } from './run-step.ts'
import { rateFactor } from './schedule.ts'
import type { StampedFile } from './stamped-file.ts'
import { buildStep, type TrainingStep } from './step/build-step.ts'
import type { TrainableWeight } from './trainable.ts'
import { requireLabels } from './training-data.ts'
import type { TrainingLook, TrainingState } from './training-state.ts'

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
const MOST_HALVINGS = 4

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
  let state = (await ports.checkpoints?.read()) ?? (await startOf(trainee.model, step, ports.judge))
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
      state = wrong === undefined ? { ...state, update: next, carried } : backedOff(state, next, wrong)
      if (next % plan.evaluateEvery === 0 || next === plan.updates) {
        const weights = weightsOf(step, state.carried)
        state = withLook(state, weights, {
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

async function startOf(
  { graph }: Model,
  step: TrainingStep,
  judge: (weights: Numbers) => Promise<number>,
): Promise<TrainingState> {
  const carried = new Map<string, Float32Array>()
  for (const { name, dims } of step.carried) {
    const tensor = graph.initializers.get(name)
    const zeros = (): Float32Array => new Float32Array(dims.reduce((product, dim) => product * dim, 1))
    carried.set(name, tensor === undefined ? zeros() : Float32Array.from(asFloat32(tensor)))
  }
  const weights = weightsOf(step, carried)
  const score = await judge(weights)
  return {
    update: 0,
    carried,
    best: { update: 0, score, weights },
    halvings: 0,
    loss: { first: undefined, recent: [] },
    looksWithoutBetter: 0,
    history: [{ update: 0, loss: null, score }],
    elapsedMs: 0,
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

/** Back to the best weights, with a fresh optimizer and half the rate; the batches that did it are not seen again. */
function backedOff(state: TrainingState, update: number, wrong: string): TrainingState {
  if (state.halvings === MOST_HALVINGS) {
    throw new EdgefitError(
      `training got out of hand ${MOST_HALVINGS + 1} times, each time at half the rate; at last ${wrong}. Lower ` +
        '"learningRate", or set "maxGradientNorm"',
      { code: 'PASS_FAILED', details: { update, wrong } },
    )
  }
  const carried = [...state.carried].map(([name, values]): [string, Float32Array] => [
    name,
    state.best.weights.get(name) ?? new Float32Array(values.length),
  ])
  return { ...state, update, carried: new Map(carried), halvings: state.halvings + 1 }
}

function withLook(state: TrainingState, weights: Numbers, look: TrainingLook): TrainingState {
  const history = [...state.history, look]
  if (!(look.score > state.best.score)) {
    return { ...state, history, looksWithoutBetter: state.looksWithoutBetter + 1 }
  }
  return { ...state, history, looksWithoutBetter: 0, best: { update: look.update, score: look.score, weights } }
}

function weightsOf({ trained }: TrainingStep, carried: Numbers): Numbers {
  return new Map(trained.map(({ name }) => [name, carried.get(name) ?? new Float32Array()]))
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
