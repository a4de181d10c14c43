import { EdgefitError } from '@edgefit/shared'
import { asFloat32, type Model } from '@edgefit/shared/onnx'
import { masked } from '../smallest-masks.ts'
import type { LossWatchState } from './divergence.ts'
import type { TrainingPlan } from './plan.ts'
import type { Numbers } from './run-step.ts'
import { joinedMasks, magnitudeMasks, settledAt, sparsityAt, zeroMasks } from './sparsity.ts'
import type { TrainingStep } from './step/build-step.ts'

/** Where a run stands after `update` updates: from here it goes on to the same end, bit for bit on the same box. */
export interface TrainingState {
  readonly update: number
  /** Weights and what the optimizer keeps, by carried name. */
  readonly carried: Numbers
  /** 0 for the elements that stay zero, else 1; by weight that has such. */
  readonly masks: Numbers
  /** The share of zeros that `masks` were made for while sparsity rises; 0 before. */
  readonly maskedShare: number
  /** Since the optimizer last began with nothing. */
  readonly updatesOfOptimizer: number
  readonly best: BestWeights
  /** Times by which the rate was halved because training had got out of hand. */
  readonly halvings: number
  readonly loss: LossWatchState
  readonly looksWithoutBetter: number
  readonly history: readonly TrainingLook[]
  /** Time spent so far, in all runs. */
  readonly elapsedMs: number
}

interface BestWeights {
  readonly update: number
  readonly score: number
  readonly weights: Numbers
}

/** What the tuning split said. */
export interface TrainingLook {
  readonly update: number
  /** Mean of the last losses; null before the first. */
  readonly loss: number | null
  readonly score: number
}

const MOST_HALVINGS = 4

export async function startOfTraining(
  { graph }: Model,
  step: TrainingStep,
  { keepZeros }: TrainingPlan,
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
    masks: keepZeros ? zeroMasks(kernelsOf(step, carried)) : new Map(),
    maskedShare: 0,
    updatesOfOptimizer: 0,
    best: { update: 0, score, weights },
    halvings: 0,
    loss: { first: undefined, recent: [] },
    looksWithoutBetter: 0,
    history: [{ update: 0, loss: null, score }],
    elapsedMs: 0,
  }
}

/** After an update that went well. Elements that are to be zero become so; while sparsity rises, there are more of them. */
export function updated(
  state: TrainingState,
  update: number,
  carried: Numbers,
  step: TrainingStep,
  plan: TrainingPlan,
): TrainingState {
  const updatesOfOptimizer = state.updatesOfOptimizer + 1
  return sparsened({ ...state, update, carried, updatesOfOptimizer }, step, plan)
}

/** With the zeros that are due after `state.update` updates. */
function sparsened(state: TrainingState, step: TrainingStep, { sparsity, updates }: TrainingPlan): TrainingState {
  const share = sparsity === undefined ? 0 : sparsityAt(sparsity, state.update, updates)
  const isDue =
    sparsity !== undefined &&
    share > state.maskedShare &&
    (share === sparsity.final || (state.update - 1) % sparsity.everyUpdates === 0)
  if (!isDue) return { ...state, carried: allMasked(state.carried, state.masks) }
  const masks = joinedMasks(magnitudeMasks(kernelsOf(step, state.carried), share, sparsity.scope), state.masks)
  return { ...state, masks, maskedShare: share, carried: allMasked(state.carried, masks) }
}

function allMasked(carried: Numbers, masks: Numbers): Numbers {
  const result = new Map(carried)
  for (const [name, mask] of masks) result.set(name, masked(carried.get(name) ?? mask, mask))
  return result
}

/** Back to the best weights, with a fresh optimizer and half the rate; the batches that did it are not seen again. */
export function backedOff(
  state: TrainingState,
  update: number,
  wrong: string,
  step: TrainingStep,
  plan: TrainingPlan,
): TrainingState {
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
  const back = { ...state, update, carried: new Map(carried), updatesOfOptimizer: 0, halvings: state.halvings + 1 }
  return sparsened(back, step, plan)
}

/**
 * After a look at the tuning split. Of weights that did equally well the later are kept: the rate has fallen since, and
 * luck has had less to do with them. Weights that are not as sparse yet as they are to be do not count as better.
 */
export function looked(
  state: TrainingState,
  { sparsity, penalties, updates }: TrainingPlan,
  weights: Numbers,
  look: TrainingLook,
): TrainingState {
  const history = [...state.history, look]
  const { best, looksWithoutBetter } = state
  const isFirstThatCounts = sparsity !== undefined && best.update < settledAt(sparsity, updates)
  const isBetter = isFirstThatCounts || keepsLast({ penalties }) || look.score > best.score
  const isAsGood = look.score === best.score && best.update > 0
  return {
    ...state,
    history,
    looksWithoutBetter: isBetter ? 0 : looksWithoutBetter + 1,
    best: isBetter || isAsGood ? { update: look.update, score: look.score, weights } : best,
  }
}

/** Under pressure: weights before the last were better for having felt less of what is asked for. */
export function keepsLast({ penalties }: Pick<TrainingPlan, 'penalties'>): boolean {
  return penalties.length > 0
}

/** There is one from the start. */
export function lastLook({ history, best }: TrainingState): TrainingLook {
  return history.at(-1) ?? { update: best.update, loss: null, score: best.score }
}

export function weightsOf({ trained }: TrainingStep, carried: Numbers): Numbers {
  return new Map(trained.map(({ name }) => [name, carried.get(name) ?? new Float32Array()]))
}

/** Matrices and kernels: what sparsity is about. */
function kernelsOf({ trained }: TrainingStep, carried: Numbers): Numbers {
  const kernels = trained.filter(({ decays }) => decays)
  return new Map(kernels.map(({ name }) => [name, carried.get(name) ?? new Float32Array()]))
}
