import { elementCount, intsValue, intValue } from '@edgefit/shared/onnx'
import type { Emitter } from '../emitter.ts'
import type { Correlation } from './convolution-geometry.ts'
import { of, tapsOf } from './window-geometry.ts'
import { hasFewPairs, joinedPairs } from './window-pairs.ts'
import { padded, underTap } from './window-slices.ts'

/** Groups of so few channels leave the columns of a product per tap too narrow; their taps are stacked into one. */
const NARROW_GROUP = 4
/** The pairs along the last axis alone may take this many times the room of the input. */
const PAIRS_TO_INPUT = 4

/**
 * dL/dW of a {@link Correlation}, of the weights' shape: for each tap the product of dL/d(small) with what the windows
 * have under that tap, summed over batch and places. Every form is matrix products, which the runtime is good at:
 *
 * - dense: channels last, one product per tap, whose slice is then the product's operand as it lies;
 * - few channels in a group: channels first, the taps stacked, one product;
 * - depthwise: products over all pairs of places on the last axes, of which those that a tap joins are then added up.
 *   That is more arithmetic than needed, and still faster than reading every element once per tap.
 */
export function gradientByWeights(emit: Emitter, correlation: Correlation, large: string, small: string): string {
  const { channels, filters, group } = correlation
  const pairAxes = channels === group && filters === group ? pairAxesOf(correlation) : 0
  if (pairAxes > 0) return byPairs(emit, correlation, large, small, pairAxes)
  return channels / group <= NARROW_GROUP
    ? byStackedTaps(emit, correlation, large, small)
    : byTaps(emit, correlation, large, small)
}

function byTaps(emit: Emitter, correlation: Correlation, large: string, small: string): string {
  const { filters, columns, groups, length, kernel, taps } = sizes(correlation)
  const by = filtersFirst(emit, correlation, small)
  const spatial = kernel.map((_, axis) => axis)
  const places = spatial.map((axis) => groups.length + 1 + axis)
  const order =
    groups.length === 0 ? [0, ...spatial.map((axis) => axis + 2), 1] : [1, 0, ...spatial.map((axis) => axis + 3), 2]
  const last = padded(
    emit,
    transpose(emit, byGroup(emit, correlation, large), order),
    correlation,
    order.length,
    places,
  )
  const products = taps.map((tap) => {
    const under = emit.reshape(underTap(emit, last, correlation, tap, places), [...groups, length, columns])
    return emit.add('MatMul', [by, under])
  })
  const joined = emit.reshape(concat(emit, products, groups.length + 1), [filters, taps.length, columns])
  return emit.reshape(taps.length === 1 ? joined : transpose(emit, joined, [0, 2, 1]), [filters, columns, ...kernel])
}

function byStackedTaps(emit: Emitter, correlation: Correlation, large: string, small: string): string {
  const { filters, columns, groups, length, kernel, taps } = sizes(correlation)
  const by = filtersFirst(emit, correlation, small)
  const places = kernel.map((_, axis) => groups.length + 2 + axis)
  const order = groups.length === 0 ? [1, 0, ...places] : [1, 2, 0, ...places]
  const first = padded(
    emit,
    transpose(emit, byGroup(emit, correlation, large), order),
    correlation,
    order.length,
    places,
  )
  const stack = taps.map((tap) =>
    emit.reshape(underTap(emit, first, correlation, tap, places), [...groups, columns, 1, length]),
  )
  const rows = emit.reshape(concat(emit, stack, groups.length + 1), [...groups, columns * taps.length, length])
  const asColumns = transpose(emit, rows, groups.length === 0 ? [1, 0] : [0, 2, 1])
  return emit.reshape(emit.add('MatMul', [by, asColumns]), [filters, columns, ...kernel])
}

/** How many of the last spatial axes {@link byPairs} takes whole; 0 where it does not pay. */
function pairAxesOf(correlation: Correlation): number {
  const { large, small, batch } = correlation
  if (hasFewPairs(correlation)) return large.length
  const pairs = of(large, large.length - 1) * of(small, small.length - 1)
  return pairs <= PAIRS_TO_INPUT * batch * elementCount(large) ? 1 : 0
}

/** Depthwise: by taps on the axes before, over all pairs of places on the last `pairAxes`. */
function byPairs(emit: Emitter, correlation: Correlation, large: string, small: string, pairAxes: number): string {
  const { channels, kernel, batch } = correlation
  const before = kernel.length - pairAxes
  const spatial = kernel.map((_, axis) => axis + 2)
  const order = [1, ...spatial.slice(0, before), 0, ...spatial.slice(before)]
  const places = spatial.slice(0, before).map((axis) => axis - 1)
  const length = batch * elementCount(correlation.small.slice(0, before))
  const from = elementCount(correlation.large.slice(before))
  const to = elementCount(correlation.small.slice(before))
  const by = emit.reshape(transpose(emit, small, order), [channels, length, to])
  const whole = padded(emit, transpose(emit, large, order), correlation, order.length, places)
  const products = tapsOf(kernel.slice(0, before)).map((tap) => {
    const under = emit.reshape(underTap(emit, whole, correlation, tap, places), [channels, length, from])
    return emit.reshape(emit.add('MatMul', [transpose(emit, under, [0, 2, 1]), by]), [channels, 1, from * to])
  })
  const joins = emit.constant(joinedPairs(correlation, before))
  return emit.reshape(emit.add('MatMul', [concat(emit, products, 1), joins]), [channels, 1, ...kernel])
}

function sizes(correlation: Correlation) {
  const { channels, filters, group, kernel, batch, small } = correlation
  return {
    filters,
    kernel,
    columns: channels / group,
    /** The leading axis of what is split into groups; none where there is one. */
    groups: group === 1 ? [] : [group],
    length: batch * elementCount(small),
    taps: tapsOf(kernel),
  }
}

/** [groups, filters of one, places of all the batch]. */
function filtersFirst(emit: Emitter, correlation: Correlation, small: string): string {
  const { filters, groups, length } = sizes(correlation)
  const spatial = correlation.small.map((_, axis) => axis + 2)
  const first = transpose(emit, small, [1, 0, ...spatial])
  return emit.reshape(first, [...groups, filters / correlation.group, length])
}

/** [batch, groups, channels of one, ...]. */
function byGroup(emit: Emitter, correlation: Correlation, large: string): string {
  const { batch, group, channels } = correlation
  return group === 1 ? large : emit.reshape(large, [batch, group, channels / group, ...correlation.large])
}

function transpose(emit: Emitter, value: string, perm: readonly number[]): string {
  return emit.add('Transpose', [value], { perm: intsValue(perm) })
}

function concat(emit: Emitter, values: readonly string[], axis: number): string {
  const [only] = values
  return values.length === 1 && only !== undefined ? only : emit.add('Concat', values, { axis: intValue(axis) })
}
