import {
  asFloat32,
  intAttribute,
  intsAttribute,
  intsValue,
  intValue,
  type Node,
  stringAttribute,
} from '@edgefit/shared/onnx'
import type { Emitter } from '../emitter.ts'
import type { GradientRequest, GradientRule, GradientRules } from '../gradient-rule.ts'
import { positiveAxis } from './axes.ts'
import { sumToShape, zeros } from './broadcast.ts'
import { staticInts } from './constants.ts'

/** The elements stay in their order: the gradient is laid out as the input was. */
const reshaped: GradientRule = ({ node, outputGradients: [g = ''], shapeOf, emit }) => [
  emit.reshape(g, shapeOf(node.inputs[0] ?? '')),
]

export const layoutRules: GradientRules = {
  Reshape: reshaped,
  Flatten: reshaped,
  Squeeze: reshaped,
  Unsqueeze: reshaped,
  Transpose: transpose,
  Concat: concat,
  Split: split,
  Pad: pad,
  Expand: ({ node, outputGradients: [g = ''], shapeOf, emit }) => [
    sumToShape(emit, g, shapeOf(node.outputs[0] ?? ''), shapeOf(node.inputs[0] ?? '')),
  ],
  Tile: tile,
  Resize: resize,
  DepthToSpace: depthToSpace,
  SpaceToDepth: ({ node, outputGradients: [g = ''], emit }) => [
    emit.add('DepthToSpace', [g], { blocksize: intValue(intAttribute(node, 'blocksize', 1)) }),
  ],
}

function transpose({ node, outputGradients: [g = ''], emit }: GradientRequest) {
  const perm = intsAttribute(node, 'perm', undefined)
  if (perm === undefined) return [emit.add('Transpose', [g])]
  return [emit.add('Transpose', [g], { perm: intsValue(perm.map((_, axis) => perm.indexOf(axis))) })]
}

function concat({ node, outputGradients: [g = ''], wanted, shapeOf, emit }: GradientRequest) {
  const axis = positiveAxis(intAttribute(node, 'axis', 0), shapeOf(node.outputs[0] ?? '').length)
  const lengths = node.inputs.map((value) => shapeOf(value)[axis] ?? 0)
  const parts = emit.addMany('Split', [g, emit.ints(lengths)], lengths.length, { axis: intValue(axis) })
  return parts.map((part, at) => (wanted[at] ? part : undefined))
}

function split({ node, outputGradients, shapeOf, emit }: GradientRequest) {
  const axis = intAttribute(node, 'axis', 0)
  const parts = node.outputs.map((value, at) => outputGradients[at] ?? zeros(emit, shapeOf(value)))
  return [emit.add('Concat', parts, { axis: intValue(axis) })]
}

/** What was put in front is cut off, and what was cut off comes back as zero. */
function pad(request: GradientRequest): ReturnType<GradientRule> {
  const {
    node,
    outputGradients: [g = ''],
    wanted,
    shapeOf,
    emit,
  } = request
  const mode = stringAttribute(node, 'mode', 'constant')
  if (mode !== 'constant') return { refused: `it pads by ${mode}` }
  if (wanted[2]) return { refused: 'the value it pads with is trained' }
  const given = staticInts(request, 1, 'pads') ?? []
  if ('refused' in given) return given
  const axes = staticInts(request, 3, 'axes')
  if (axes !== undefined && 'refused' in axes) return axes
  const rank = shapeOf(node.inputs[0] ?? '').length
  const pads = new Array<number>(2 * rank).fill(0)
  for (const [at, length] of given.entries()) {
    const half = given.length / 2
    const axis = at % half
    pads[positiveAxis(axes?.[axis] ?? axis, rank) + (at < half ? 0 : rank)] = -length
  }
  return [emit.add('Pad', [g, emit.ints(pads)])]
}

function tile(request: GradientRequest): ReturnType<GradientRule> {
  const {
    node,
    outputGradients: [g = ''],
    shapeOf,
    emit,
  } = request
  const repeats = staticInts(request, 1, 'repeats') ?? []
  if ('refused' in repeats) return repeats
  const shape = shapeOf(node.inputs[0] ?? '')
  const copies = emit.reshape(
    g,
    shape.flatMap((length, axis) => [repeats[axis] ?? 1, length]),
  )
  return [sumOfPairs(emit, copies, shape.length, 0)]
}

/** Enlarged by a whole factor to the nearest element, each becomes a block. */
function resize(request: GradientRequest): ReturnType<GradientRule> {
  const {
    node,
    outputGradients: [g = ''],
    shapeOf,
    emit,
  } = request
  const shape = shapeOf(node.inputs[0] ?? '')
  const factors = shapeOf(node.outputs[0] ?? '').map((length, axis) => length / (shape[axis] ?? 1))
  if (!isBlockwise(node) || !factors.every(Number.isInteger) || !isScaledBy(request, factors)) {
    return { refused: 'it does more than repeat elements a whole number of times' }
  }
  const blocks = emit.reshape(
    g,
    shape.flatMap((length, axis) => [length, factors[axis] ?? 1]),
  )
  return [sumOfPairs(emit, blocks, shape.length, 1)]
}

/** Lengths are rounded down: 2 enlarged by 2.25 are 4, but not in blocks. Where the size is given, so are the factors. */
function isScaledBy({ node, constant }: GradientRequest, factors: readonly number[]): boolean {
  const [, , scales = ''] = node.inputs
  if (scales === '') return true
  const given = constant(scales)
  return (
    given?.dataType === 'FLOAT' &&
    (given.data.length === 0 || asFloat32(given).every((scale, axis) => scale === factors[axis]))
  )
}

/** Whether every place of a block is nearest to the element that the block stands for, however large it is. */
function isBlockwise(node: Node): boolean {
  if (stringAttribute(node, 'mode', 'nearest') !== 'nearest') return false
  const rounding = stringAttribute(node, 'nearest_mode', 'round_prefer_floor')
  const coordinates = stringAttribute(node, 'coordinate_transformation_mode', 'half_pixel')
  return coordinates === 'asymmetric'
    ? rounding === 'floor'
    : coordinates === 'half_pixel' && rounding.startsWith('round')
}

/** Of a value whose axes come in pairs, summed over one of each. */
function sumOfPairs(emit: Emitter, value: string, pairs: number, which: 0 | 1): string {
  const axes = Array.from({ length: pairs }, (_, pair) => 2 * pair + which)
  return emit.reduceSum(value, axes, false)
}

function depthToSpace({ node, outputGradients: [g = ''], emit }: GradientRequest): ReturnType<GradientRule> {
  const mode = stringAttribute(node, 'mode', 'DCR')
  if (mode !== 'DCR') return { refused: `of its mode ${mode} there is no inverse` }
  return [emit.add('SpaceToDepth', [g], { blocksize: intValue(intAttribute(node, 'blocksize', 1)) })]
}
