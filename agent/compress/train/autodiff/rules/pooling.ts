import {
  elementCount,
  floatTensor,
  intAttribute,
  intsAttribute,
  intsValue,
  type Node,
  stringAttribute,
  stringValue,
} from '@edgefit/shared/onnx'
import type { GradientRequest, GradientRule, GradientRules } from '../gradient-rule.ts'
import { algebra } from './algebra.ts'
import { of, tapsOf, type WindowGeometry, windowGeometry } from './window-geometry.ts'

export const poolingRules: GradientRules = {
  MaxPool: maxPool,
  AveragePool: averagePool,
  GlobalAveragePool: globalAveragePool,
  GlobalMaxPool: globalMaxPool,
}

/** Each gradient goes to the element that its window took, by the index that the forward node gives. */
function maxPool({
  node,
  outputGradients: [g],
  shapeOf,
  forwardOutput,
  emit,
}: GradientRequest): ReturnType<GradientRule> {
  if (intAttribute(node, 'storage_order', 0) === 1)
    return { refused: 'its indices are in column-major order (storage_order 1)' }
  if (g === undefined) return []
  const [x = ''] = node.inputs
  const shape = shapeOf(x)
  const flat = (value: string): string => emit.reshape(value, [-1])
  const zeros = emit.add('Expand', [emit.scalar(0), emit.ints([elementCount(shape)])])
  const scattered = emit.add('ScatterElements', [zeros, flat(forwardOutput(1)), flat(g)], {
    reduction: stringValue('add'),
  })
  return [emit.reshape(scattered, shape)]
}

function averagePool({ node, outputGradients: [g], shapeOf, emit }: GradientRequest): ReturnType<GradientRule> {
  if (g === undefined) return []
  const [x = ''] = node.inputs
  const [y = ''] = node.outputs
  const shape = shapeOf(x)
  const small = shapeOf(y).slice(2)
  const kernel = intsAttribute(node, 'kernel_shape', [])
  const geometry = windowGeometry(node, { large: shape.slice(2), small, kernel })
  const counts = floatTensor('grad/counts', [1, 1, ...small], sharesOf(geometry, countedBeyond(node, geometry)))
  const shares = algebra(emit).mul(g, emit.constant(counts))
  const planes = elementCount(shape.slice(0, 2))
  const ones = floatTensor('grad/ones', [1, 1, ...kernel], new Float32Array(elementCount(kernel)).fill(1))
  const spread = emit.add('ConvTranspose', [emit.reshape(shares, [planes, 1, ...small]), emit.constant(ones)], {
    kernel_shape: intsValue(kernel),
    strides: intsValue(geometry.strides),
    dilations: intsValue(geometry.dilations),
    pads: intsValue([...geometry.padsBegin, ...geometry.padsEnd.map((pad) => Math.max(0, pad))]),
    output_padding: intsValue(geometry.padsEnd.map((pad) => Math.max(0, -pad))),
  })
  return [emit.reshape(spread, shape)]
}

/** How far beyond each end of the input elements count, as zeros. */
interface Beyond {
  readonly begin: readonly number[]
  readonly end: readonly number[]
}

function countedBeyond(node: Node, { kernel, padsBegin, padsEnd }: WindowGeometry): Beyond {
  const none = kernel.map(() => 0)
  if (intAttribute(node, 'count_include_pad', 0) === 0) return { begin: none, end: none }
  // What ceil_mode reaches beyond the padding does not count.
  const declared = stringAttribute(node, 'auto_pad', 'NOTSET') === 'NOTSET'
  return {
    begin: padsBegin,
    end: declared ? intsAttribute(node, 'pads', [...none, ...none]).slice(kernel.length) : padsEnd,
  }
}

/** One over the number of elements that count, for each window. */
function sharesOf(
  { large, small, kernel, strides, dilations, padsBegin }: WindowGeometry,
  counted: Beyond,
): Float32Array {
  const counts = kernel.map((length, axis) =>
    Array.from({ length: of(small, axis) }, (_, place) => {
      const start = place * of(strides, axis) - of(padsBegin, axis)
      const places = Array.from({ length }, (_, index) => start + index * of(dilations, axis))
      return places.filter((at) => at >= -of(counted.begin, axis) && at < of(large, axis) + of(counted.end, axis))
        .length
    }),
  )
  return Float32Array.from(tapsOf(small), (place) =>
    place.reduce((share, index, axis) => share / Math.max(1, counts[axis]?.[index] ?? 1), 1),
  )
}

function globalAveragePool({ node, outputGradients: [g], shapeOf, emit }: GradientRequest): ReturnType<GradientRule> {
  if (g === undefined) return []
  const shape = shapeOf(node.inputs[0] ?? '')
  const share = algebra(emit).div(g, elementCount(shape.slice(2)))
  return [emit.add('Expand', [share, emit.ints(shape)])]
}

/** Elements that are equally the largest share the gradient. */
function globalMaxPool({ node, outputGradients: [g], shapeOf, emit }: GradientRequest): ReturnType<GradientRule> {
  if (g === undefined) return []
  const [x = ''] = node.inputs
  const [y = ''] = node.outputs
  const { div, equal, indicator, mul } = algebra(emit)
  const largest = indicator(equal(x, y))
  const spatial = shapeOf(x)
    .slice(2)
    .map((_, axis) => axis + 2)
  return [mul(largest, div(g, emit.reduceSum(largest, spatial, true)))]
}
