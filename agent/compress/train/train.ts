import { EdgefitError } from '@edgefit/shared'
import type { Training } from '@edgefit/shared/model'
import type { Model } from '@edgefit/shared/onnx'
import { inParts } from './batches.ts'
import { createCheckpoints } from './checkpoints.ts'
import { createCooler, type Thermometer } from './cool-down.ts'
import { watchLoss } from './divergence.ts'
import { drawnData } from './drawn-data.ts'
import type { TrainingPlan } from './plan.ts'
import { createTeller, type TrainingProgress } from './progress.ts'
import { type Numbers, openStep, type StepPorts, type StepRunner } from './run-step.ts'
import { rateFactor } from './schedule.ts'
import type { StampedFile } from './stamped-file.ts'
import { stepWithin } from './step-within.ts'
import type { Teaching } from './teaching.ts'
import type { TrainableWeight } from './trainable.ts'
import { requireLabels } from './training-data.ts'
import { notesOf } from './training-notes.ts'
import {
  backedOff,
  lastLook,
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

export interface TrainingPorts extends Omit<StepPorts, 'teacher'> {
  /** Called where there is an update to be made, at most once. */
  readonly openTeacher?: Teaching['open'] | undefined
  /** How good the model is on the tuning split with these weights; more is better. Tells how much of it is done. */
  readonly judge: (weights: Numbers, onShare: (share: number) => void) => Promise<number>
  readonly checkpoints?: StampedFile<TrainingState>
  readonly monotonicNow: () => number
  /** When time began to count, by `monotonicNow`; absent: now. */
  readonly startedMs?: number
  /** Why training has to end now with what it has, after so much time in all runs. Asked before every update. */
  readonly exhausted?: (elapsedMs: number) => string | undefined
  readonly pauseAboveCelsius?: Training['pauseAboveCelsius']
  readonly thermometer?: Thermometer
  /** Of this process, so far. */
  readonly peakRssBytes?: () => number | undefined
  /** After every batch, and every part of a look. */
  readonly onProgress?: (progress: TrainingProgress) => void
}

export interface Trained {
  /** By name. */
  readonly weights: Numbers
  readonly initialScore: number
  readonly bestScore: number
  readonly bestUpdate: number
  readonly updates: number
  readonly history: readonly TrainingLook[]
  readonly elapsedMs: number
  /** Mean time of an update of this run; undefined where it made none. */
  readonly updateMs: number | undefined
  /** Of the process. */
  readonly peakMib: number | undefined
  /** For people: why it ended early, rates that were halved, weights that stayed and why. */
  readonly notes: readonly string[]
}

/**
 * Trains by `plan`, and keeps the weights that do best on the tuning split, or the last where penalties press on
 * them. The same model, plan and data give the same weights on the same class of hardware, however often the run was
 * interrupted or paused in between.
 *
 * @throws EdgefitError PASS_FAILED when training gets out of hand however small its rate; TRIAL_FAILED when time, memory or
 * heat leave room for no update; DATASET_MISMATCH and DATASET_INVALID for data that do not fit; what `buildStep` and the
 * runtime throw; the signal's reason.
 */
export async function train(
  trainee: Trainee,
  plan: TrainingPlan,
  ports: TrainingPorts,
  signal: AbortSignal,
): Promise<Trained> {
  const data = drawnData(ports.data, plan)
  const within = stepWithin(trainee, plan)
  const { step } = within
  requireLabels(plan.loss, ports.data)
  const { monotonicNow, startedMs = monotonicNow(), onProgress } = ports
  const saved = await ports.checkpoints?.read()
  const elapsedMs = (): number => (saved?.elapsedMs ?? 0) + monotonicNow() - startedMs
  const exhausted = (): string | undefined => ports.exhausted?.(elapsedMs())
  const cooler = createCooler({
    pauseAboveCelsius: ports.pauseAboveCelsius,
    thermometer: ports.thermometer,
    monotonicNow,
    exhausted: () => exhausted() !== undefined,
    onWait: (celsius, waitedMs) => onProgress?.({ doing: 'cooling', at: teller.standing(), celsius, waitedMs }),
  })
  const workedMs = (): number => monotonicNow() - startedMs - cooler.waitedMs()
  const teller = createTeller(plan.updates, workedMs)
  const judge = (weights: Numbers): Promise<number> =>
    ports.judge(weights, (share) => onProgress?.({ doing: 'looking', at: teller.standing(), share }))
  let state: TrainingState = saved ?? {
    ...(await startOfTraining(trainee.model, step, plan, judge)),
    elapsedMs: elapsedMs(),
  }
  const tell = (loss: number | null): void =>
    teller.see({ update: state.update, loss, score: lastLook(state).score, bestScore: state.best.score })
  tell(null)
  const watch = watchLoss(state.loss)
  const made = { updates: 0, ms: 0 }
  let runner: StepRunner | undefined
  const checkpoints = createCheckpoints(ports.checkpoints, monotonicNow, startedMs)
  let ended: string | undefined
  let end: TrainingState
  try {
    while (state.update < plan.updates && state.looksWithoutBetter < plan.patience) {
      signal.throwIfAborted()
      const tooHot = await cooler.cooledDown(signal)
      ended = exhausted() ?? tooHot
      if (ended !== undefined && state.update > 0) break
      if (tooHot !== undefined) throw neverCool(tooHot)
      if (runner === undefined) {
        runner = await openStep(step, plan, await stepPorts())
        tell(null)
      }
      const next = state.update + 1
      const rate = plan.learningRate * rateFactor(plan.schedule, state.update, plan.updates) * 0.5 ** state.halvings
      const beganMs = workedMs()
      const { carried, loss, gradientNorm } = await runner.update(
        state.carried,
        turnsOf(plan, state.update, within.parts),
        { updateOfOptimizer: state.updatesOfOptimizer + 1, rate },
        (share) => share < 1 && onProgress?.({ doing: 'updating', at: teller.standing(share) }),
      )
      const updateMs = workedMs() - beganMs
      if (ended !== undefined) throw nothingTrained(ended, elapsedMs(), updateMs)
      made.updates += 1
      made.ms += updateMs
      const looks = next % plan.evaluateEvery === 0 || next === plan.updates
      // Loss and gradients are those before the update; what it made of the weights shows in the next, or here.
      const wrong = watch.see(loss, gradientNorm) ?? (looks ? whatIsNotFinite(carried) : undefined)
      if (wrong !== undefined) watch.restart()
      state =
        wrong === undefined ? updated(state, next, carried, step, plan) : backedOff(state, next, wrong, step, plan)
      tell(loss)
      if (looks) state = await afterLook(state)
      tell(loss)
      state = { ...state, loss: watch.state(), elapsedMs: elapsedMs() }
      await checkpoints.keepWhenDue(state)
      onProgress?.({ doing: 'updating', at: teller.standing() })
    }
    // What was trained since the last look shall not be lost. Whoever goes on from here looks where it is due.
    const isSeen = ended === undefined || lastLook(state).update === state.update
    end = isSeen || whatIsNotFinite(state.carried) !== undefined ? state : await afterLook(state)
  } finally {
    await runner?.release()
  }

  async function stepPorts(): Promise<StepPorts> {
    const teacher = await ports.openTeacher?.({ parts: within.parts, spent: exhausted })
    return { ...ports, data, ...(teacher && { teacher }) }
  }

  async function afterLook(before: TrainingState): Promise<TrainingState> {
    const weights = weightsOf(step, before.carried)
    const score = await judge(weights)
    return looked(before, plan, weights, { update: before.update, loss: meanOf(watch.state().recent), score })
  }

  // Whoever asks for the same run again gets its end at once.
  if (runner !== undefined) await checkpoints.keep(state)
  const peakBytes = ports.peakRssBytes?.()
  const peakMib = peakBytes === undefined ? undefined : peakBytes / 2 ** 20
  return {
    weights: end.best.weights,
    initialScore: end.history[0]?.score ?? Number.NaN,
    bestScore: end.best.score,
    bestUpdate: end.best.update,
    updates: end.update,
    history: end.history,
    elapsedMs: end.elapsedMs,
    updateMs: made.updates === 0 ? undefined : made.ms / made.updates,
    peakMib,
    notes: notesOf(end, plan, {
      within,
      ended,
      unwritten: checkpoints.unwritten(),
      pausedMs: cooler.waitedMs(),
      lacksSensor: cooler.lacksSensor(),
      peakMib,
    }),
  }
}

function neverCool(tooHot: string): EdgefitError {
  return new EdgefitError(`nothing was trained: ${tooHot}; raise it, or cool the box`, {
    code: 'TRIAL_FAILED',
    details: { reason: 'timeout' },
  })
}

/** Weights that were never changed are not what was asked for: said with what the budget would have to be. */
function nothingTrained(ended: string, elapsedMs: number, updateMs: number): EdgefitError {
  const seconds = (ms: number): string => `${(Math.ceil(ms / 100) / 10).toFixed(1)} s`
  return new EdgefitError(
    `nothing was trained: ${ended} before the first update. Up to its end it takes ${seconds(elapsedMs)}, of which the update ` +
      `itself takes ${seconds(updateMs)}: raise the budget to more than that, or train less of the model ("trainable"), in smaller batches`,
    { code: 'TRIAL_FAILED', details: { reason: 'timeout', elapsedMs, updateMs } },
  )
}

function whatIsNotFinite(carried: Numbers): string | undefined {
  for (const [name, values] of carried) {
    if (!values.every(Number.isFinite)) return `"${name}" got numbers that are not finite`
  }
  return undefined
}

/** Of each run of the step that an update takes, the turns at which samples are drawn. */
function turnsOf({ batch, accumulation }: TrainingPlan, update: number, parts: number): readonly (readonly number[])[] {
  const drawnBefore = update * accumulation * batch
  return Array.from({ length: accumulation }, (_, at) =>
    Array.from({ length: batch }, (__, row) => drawnBefore + at * batch + row),
  ).flatMap((turns) => inParts(turns, parts))
}

function meanOf(values: readonly number[]): number | null {
  return values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length
}
