import { elementCount, intsValue } from '@edgefit/shared/onnx'
import type { Emitter } from '../autodiff/emitter.ts'

/** How a value that the model has as [batch, channels, ...places] lies in memory. */
export interface Layout {
  /** Its axes from the slowest to the fastest: 0 the batch, 1 the channels, 2 all places. */
  readonly order: readonly [number, number, number]
  /** Its shape. */
  shapeOf(dims: readonly number[]): readonly number[]
}

export const BATCH_MAJOR: Layout = { order: [0, 1, 2], shapeOf: (dims) => dims }

/** [channels, batch · places] */
export const CHANNEL_MAJOR: Layout = {
  order: [1, 0, 2],
  shapeOf: (dims) => [dims[1] ?? 1, elementCount(dims) / (dims[1] ?? 1)],
}

/** [places, batch · channels] */
export const PLACE_MAJOR: Layout = {
  order: [2, 0, 1],
  shapeOf: (dims) => [elementCount(dims.slice(2)), elementCount(dims.slice(0, 2))],
}

/**
 * The value of `dims` in the model laid out as `to`, in the shape of that layout. Axes that stay neighbours are moved as
 * one, since the runtime turns a matrix faster than it moves one axis of three.
 */
export function moved(emit: Emitter, value: string, dims: readonly number[], from: Layout, to: Layout): string {
  const sides = [dims[0] ?? 1, dims[1] ?? 1, elementCount(dims.slice(2))]
  const runs: number[][] = []
  for (const axis of from.order) {
    const last = runs.at(-1)
    if (last !== undefined && to.order.indexOf(axis) === to.order.indexOf(last.at(-1) ?? 0) + 1) last.push(axis)
    else runs.push([axis])
  }
  const lengths = runs.map((run) => run.reduce((length, axis) => length * (sides[axis] ?? 1), 1))
  const perm = to.order.flatMap((axis) => runs.flatMap((run, at) => (run[0] === axis ? [at] : [])))
  return emit.reshape(
    emit.add('Transpose', [emit.reshape(value, lengths)], { perm: intsValue(perm) }),
    to.shapeOf(dims),
  )
}

/** A value of one number per channel, so that it broadcasts over a value of `dims` laid out as `layout`. */
export function perChannel(emit: Emitter, value: string, dims: readonly number[], layout: Layout): string {
  if (layout !== PLACE_MAJOR) return emit.reshape(value, [-1, 1])
  const [batch = 1, channels = 1] = dims
  return emit.reshape(emit.add('Expand', [value, emit.ints([batch, channels])]), [batch * channels])
}
