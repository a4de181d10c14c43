import type { Training } from '@edgefit/shared/model'
import type { StepEmitter } from './step-emitter.ts'

export type Penalty = Training['penalties'][number]

/** Keeps the norm of an empty channel from dividing by zero. */
const SMALLEST_NORM = 1e-12

export interface EmittedPenalty {
  /** Float32 of shape []. */
  readonly loss: string
  /** Of the weight's shape. */
  readonly gradient: string
}

/**
 * Emits a penalty on one weight and its gradient.
 *
 * @param axis whose slices `group-lasso` takes as groups
 */
export function emitPenalty(
  emit: StepEmitter,
  { kind, strength }: Penalty,
  weight: string,
  dims: readonly number[],
  axis: number,
): EmittedPenalty {
  const times = (value: string, factor: number): string => emit.add('Mul', [value, emit.scalar(factor)])
  const all = dims.map((_, position) => position)
  switch (kind) {
    case 'l1':
      return {
        loss: times(emit.reduceSum(emit.add('Abs', [weight]), all, false), strength),
        gradient: times(emit.add('Sign', [weight]), strength),
      }
    case 'l2': {
      const squares = emit.add('Mul', [weight, weight])
      return { loss: times(emit.reduceSum(squares, all, false), strength / 2), gradient: times(weight, strength) }
    }
    case 'group-lasso': {
      const others = all.filter((position) => position !== axis)
      const size = others.reduce((product, position) => product * (dims[position] ?? 1), 1)
      const norm = emit.add('Sqrt', [emit.reduceSum(emit.add('Mul', [weight, weight]), others, true)])
      const factor = strength * Math.sqrt(size)
      const direction = emit.add('Div', [weight, emit.add('Max', [norm, emit.scalar(SMALLEST_NORM)])])
      return { loss: times(emit.reduceSum(norm, all, false), factor), gradient: times(direction, factor) }
    }
  }
}
