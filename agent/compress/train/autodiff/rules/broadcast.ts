import type { Emitter } from '../emitter.ts'

/**
 * The gradient of a value of shape `to` from the gradient of what it was broadcast to: summed over the axes that were
 * stretched, and without those that were put in front.
 */
export function sumToShape(emit: Emitter, gradient: string, from: readonly number[], to: readonly number[]): string {
  const added = from.length - to.length
  const stretched = from.flatMap((length, axis) => (axis < added || (to[axis - added] ?? 1) !== length ? [axis] : []))
  const sum = emit.reduceSum(gradient, stretched, true)
  return added === 0 ? sum : emit.reshape(sum, to)
}

export function zeros(emit: Emitter, shape: readonly number[]): string {
  return emit.add('Expand', [emit.scalar(0), emit.ints(shape)])
}
