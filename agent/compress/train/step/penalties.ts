import { EdgefitError } from '@edgefit/shared'
import type { Training } from '@edgefit/shared/model'
import type { TrainableWeight } from '../trainable.ts'
import { channelNorms, smallestCount } from './channel-norms.ts'
import type { StepEmitter } from './step-emitter.ts'

export type Penalty = Training['penalties'][number]
type GroupLasso = Extract<Penalty, { kind: 'group-lasso' }>

/** Keeps the norm of an empty channel from dividing by zero. */
const SMALLEST_NORM = 1e-12

/** What penalties do to weights. Values are given, and come back, one for each weight. */
export interface Pressure {
  /** What they add to the loss: float32 of shape []. */
  readonly losses: readonly string[]
  /** Emits gradients with those of the penalties that have one. */
  pulled(gradients: readonly string[]): readonly string[]
  /**
   * Emits what is left of weights that an update has moved.
   *
   * @param reach how far an update moves a weight whose gradient has long been 1: float32 of shape []
   */
  shrunk(moved: readonly string[], reach: string): readonly string[]
}

/**
 * Emits penalties. `l2` is part of the gradient. `l1` and `group-lasso` have none at zero, which is where they lead: they
 * act after the update by their proximal maps, with a reach η: w - clip(w, -ηλ, ηλ), and w_c - min(1, ηλ√n / ‖w_c‖) w_c
 * (Parikh and Boyd, "Proximal Algorithms", 6.5).
 *
 * @throws EdgefitError RECIPE_INVALID for a penalty that presses on none of the weights.
 */
export function emitPressure(
  emit: StepEmitter,
  penalties: readonly Penalty[],
  weights: readonly TrainableWeight[],
): Pressure {
  const presses = IN_ORDER.flatMap((kind) => penalties.filter((penalty) => penalty.kind === kind)).map((penalty) => {
    const isPressed = penalty.kind === 'group-lasso' ? isRemovable : decays
    const positions = [...weights.keys()].filter((at) => isPressed(weights[at]))
    if (positions.length === 0) throw pressesOnNothing(penalty.kind)
    const pressed = positions.flatMap((at) => weights[at] ?? [])
    return { positions, ...emitPress(emit, penalty, pressed) }
  })
  return {
    losses: presses.map(({ loss }) => loss),
    pulled: (gradients) =>
      presses.reduce((values, { positions, pull }) => replaced(values, positions, pull), gradients),
    shrunk: (moved, reach) =>
      presses.reduce(
        (values, { positions, shrink }) => replaced(values, positions, shrink && ((own) => shrink(own, reach))),
        moved,
      ),
  }
}

interface Press {
  readonly loss: string
  readonly pull?: (gradients: readonly string[]) => readonly string[]
  readonly shrink?: (moved: readonly string[], reach: string) => readonly string[]
}

/** Elements before the channels that hold them: only so is one map after the other that of the sum. */
const IN_ORDER = ['l2', 'l1', 'group-lasso'] as const

const decays = (weight: TrainableWeight | undefined): boolean => weight?.decays === true
const isRemovable = (weight: TrainableWeight | undefined): boolean => weight?.removable !== undefined

/** @param weights those that the penalty presses on */
function emitPress(emit: StepEmitter, penalty: Penalty, weights: readonly TrainableWeight[]): Press {
  switch (penalty.kind) {
    case 'l1':
      return emitL1(emit, penalty.strength, weights)
    case 'l2':
      return emitL2(emit, penalty.strength, weights)
    case 'group-lasso':
      return emitGroupLasso(emit, penalty, weights)
  }
}

function emitL2(emit: StepEmitter, strength: number, weights: readonly TrainableWeight[]): Press {
  const sums = weights.map(({ name, dims }) => emitSum(emit, emit.add('Mul', [name, name]), dims.length))
  return {
    loss: times(emit, emit.add('Sum', sums), strength / 2),
    pull: (gradients) =>
      weights.map(({ name }, at) => emit.add('Add', [gradients[at] ?? '', times(emit, name, strength)])),
  }
}

function emitL1(emit: StepEmitter, strength: number, weights: readonly TrainableWeight[]): Press {
  const sums = weights.map(({ name, dims }) => emitSum(emit, emit.add('Abs', [name]), dims.length))
  return {
    loss: times(emit, emit.add('Sum', sums), strength),
    shrink: (moved, reach) => {
      const most = times(emit, reach, strength)
      const least = emit.add('Neg', [most])
      return moved.map((value) => emit.add('Sub', [value, emit.add('Clip', [value, least, most])]))
    },
  }
}

function emitGroupLasso(emit: StepEmitter, penalty: GroupLasso, weights: readonly TrainableWeight[]): Press {
  requireUnspared(penalty, weights)
  const channels = channelNorms(
    emit,
    weights.flatMap(({ dims, removable }) => (removable === undefined ? [] : [{ dims, removable }])),
  )
  const strengths = times(emit, channels.roots, penalty.strength)
  const onPressed = (norms: string): string =>
    penalty.spared === 0 ? strengths : emit.add('Mul', [strengths, channels.smallest(1 - penalty.spared, norms)])
  const norms = channels.of(weights.map(({ name }) => name))
  return {
    loss: emitSum(emit, emit.add('Mul', [norms, onPressed(norms)]), 1),
    shrink: (moved, reach) => {
      const norm = channels.of(moved)
      const lost = emit.add('Mul', [onPressed(norm), reach])
      const shares = emit.add('Div', [lost, emit.add('Max', [norm, emit.scalar(SMALLEST_NORM)])])
      return channels.less(emit.add('Min', [shares, emit.scalar(1)]), moved)
    },
  }
}

function requireUnspared({ spared }: GroupLasso, weights: readonly TrainableWeight[]): void {
  const layers = weights.flatMap(({ removable }) => removable?.spans ?? []).map(([first, end]) => end - first)
  if (layers.some((channels) => smallestCount(channels, 1 - spared) > 0)) return
  throw new EdgefitError(
    `the penalty group-lasso presses on nothing: "spared" ${spared} spares all channels of layers that have ` +
      `${Math.max(...layers)} at most; lower it`,
    { code: 'RECIPE_INVALID', details: { kind: 'group-lasso', spared } },
  )
}

function emitSum(emit: StepEmitter, value: string, rank: number): string {
  return emit.reduceSum(value, [...Array(rank).keys()], false)
}

function times(emit: StepEmitter, value: string, factor: number): string {
  return emit.add('Mul', [value, emit.scalar(factor)])
}

function replaced(
  values: readonly string[],
  positions: readonly number[],
  change: ((own: readonly string[]) => readonly string[]) | undefined,
): readonly string[] {
  const changed = change?.(positions.map((at) => values[at] ?? ''))
  return values.map((value, at) => changed?.[positions.indexOf(at)] ?? value)
}

function pressesOnNothing(kind: Penalty['kind']): EdgefitError {
  const why =
    kind === 'group-lasso'
      ? 'no channel that pruning could remove is made by trained weights alone'
      : 'no matrix or kernel is trained'
  return new EdgefitError(`the penalty ${kind} presses on nothing: ${why}; train more ("trainable"), or leave it out`, {
    code: 'RECIPE_INVALID',
    details: { kind },
  })
}
