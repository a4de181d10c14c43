import { asInt64Numbers, elementCount, intAttribute, intValue, stringValue } from '@edgefit/shared/onnx'
import type { Emitter } from '../emitter.ts'
import type { GradientRequest, GradientRule, GradientRules } from '../gradient-rule.ts'
import { positiveAxis } from './axes.ts'
import { zeros } from './broadcast.ts'
import { staticInts } from './constants.ts'

export const selectionRules: GradientRules = { Slice: slice, Gather: gather, GatherElements: gatherElements }

/** Elements that were passed over get zero. */
function slice(request: GradientRequest): ReturnType<GradientRule> {
  const {
    node,
    outputGradients: [given = ''],
    shapeOf,
    emit,
  } = request
  const shape = shapeOf(node.inputs[0] ?? '')
  const picked = shapeOf(node.outputs[0] ?? '')
  const [starts, axes, steps] = [
    staticInts(request, 1, 'starts') ?? [],
    staticInts(request, 3, 'axes'),
    staticInts(request, 4, 'steps'),
  ]
  if ('refused' in starts) return starts
  if (axes !== undefined && 'refused' in axes) return axes
  if (steps !== undefined && 'refused' in steps) return steps

  const before = shape.map(() => 0)
  const after = shape.map(() => 0)
  let g = given
  for (const [at, start] of starts.entries()) {
    const axis = positiveAxis(axes?.[at] ?? at, shape.length)
    const step = steps?.[at] ?? 1
    const [length = 0, count = 0] = [shape[axis], picked[axis]]
    const first = firstPicked(start, step, length)
    if (step === 1) {
      before[axis] = first
      after[axis] = length - first - count
    } else {
      g = spreadOut(emit, g, { axis, count, rank: shape.length, places: placesOf(first, step, count, length) })
    }
  }
  return [[...before, ...after].some((extra) => extra > 0) ? padded(emit, g, before, after) : g]
}

/** As the operator reads a start: from the end where negative, and held within the axis. */
function firstPicked(start: number, step: number, length: number): number {
  const from = start < 0 ? start + length : start
  return Math.min(Math.max(from, 0), step < 0 ? length - 1 : length)
}

/** For each place of an axis the position that was picked from it, or `count` for none. */
function placesOf(first: number, step: number, count: number, length: number): readonly number[] {
  const places = new Array<number>(length).fill(count)
  for (let position = 0; position < count; position++) places[first + position * step] = position
  return places
}

interface Spreading {
  readonly axis: number
  readonly count: number
  readonly rank: number
  readonly places: readonly number[]
}

/** Takes each place's gradient from `value`, behind which one zero is put for the places that have none. */
function spreadOut(emit: Emitter, value: string, { axis, count, rank, places }: Spreading): string {
  const none = new Array<number>(rank).fill(0)
  const withZero = places.includes(count) ? padded(emit, value, none, none.with(axis, 1)) : value
  return emit.add('Gather', [withZero, emit.ints(places)], { axis: intValue(axis) })
}

function padded(emit: Emitter, value: string, before: readonly number[], after: readonly number[]): string {
  return emit.add('Pad', [value, emit.ints([...before, ...after])])
}

/** A slice that was picked several times gets the sum. */
function gather({ node, outputGradients: [g = ''], shapeOf, constant, emit }: GradientRequest) {
  const [data = '', indices = ''] = node.inputs
  const shape = shapeOf(data)
  const axis = positiveAxis(intAttribute(node, 'axis', 0), shape.length)
  const count = elementCount(shapeOf(indices))
  const flatShape = shape.with(axis, count)
  const flat = emit.reshape(g, flatShape)
  const fixed = constant(indices)
  if (count === 1 && fixed?.dataType === 'INT64') {
    const [length = 0] = [shape[axis]]
    const place = positiveAxis(asInt64Numbers(fixed)[0] ?? 0, length)
    const none = shape.map(() => 0)
    return [padded(emit, flat, none.with(axis, place), none.with(axis, length - place - 1))]
  }
  const along = emit.reshape(
    indices,
    shape.map((_, at) => (at === axis ? count : 1)),
  )
  const places = emit.add('Expand', [along, emit.ints(flatShape)])
  return [scatterSum(emit, shape, places, flat, axis)]
}

function gatherElements({ node, outputGradients: [g = ''], shapeOf, emit }: GradientRequest) {
  const [data = '', indices = ''] = node.inputs
  const axis = positiveAxis(intAttribute(node, 'axis', 0), shapeOf(data).length)
  return [scatterSum(emit, shapeOf(data), indices, g, axis)]
}

function scatterSum(emit: Emitter, shape: readonly number[], indices: string, updates: string, axis: number): string {
  return emit.add('ScatterElements', [zeros(emit, shape), indices, updates], {
    axis: intValue(axis),
    reduction: stringValue('add'),
  })
}
