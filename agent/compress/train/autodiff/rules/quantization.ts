import { DATA_TYPES, type DataType, intAttribute, type Node, type Tensor } from '@edgefit/shared/onnx'
import type { GradientRefusal, GradientRequest, GradientRule, GradientRules } from '../gradient-rule.ts'
import { algebra, castToFloat, type Operand } from './algebra.ts'
import { positiveAxis } from './axes.ts'
import { sumToShape } from './broadcast.ts'

/**
 * A pair of these passes gradients straight through, except where the integers end (Bengio et al., arXiv 1308.3432). What
 * flows between the two is the gradient by the real number that an integer stands for. The two gradients of a scale add
 * up to that of a learned step size (Esser et al., arXiv 1902.08153), not divided by √(elements · largest integer); those
 * of a zero point, which a QuantizeLinear of scale 1 makes of a real number, to that of a learned offset (Bhalgat et al.,
 * arXiv 2004.09576).
 */
export const quantizationRules: GradientRules = { QuantizeLinear: quantize, DequantizeLinear: dequantize }

/**
 * x̂'s gradient where x rounds to an integer within the range; over the same elements the scale gets -Σ g·x/scale, the
 * zero point Σ g·scale.
 */
function quantize(request: GradientRequest): ReturnType<GradientRule> {
  const {
    node,
    outputGradients: [g = ''],
    wanted,
    shapeOf,
    emit,
  } = request
  const format = formatOf(request, shapeOf(node.inputs[0] ?? ''))
  if ('refused' in format) return format
  const { scale, zero, range, toScale } = format
  const { mul, sub, div, neg, less, greater, and, indicator } = algebra(emit)
  const [x = '', givenScale = ''] = node.inputs
  // Half an integer beyond the range still rounds into it. Numbers may then be equal to those that the range came from.
  const bound = (integer: number): string => mul(scale, typeof zero === 'number' ? integer - zero : sub(integer, zero))
  const inside = and(greater(x, bound(range.low - 0.5)), less(x, bound(range.high + 0.5)))
  const through = mul(g, indicator(inside))
  return [
    wanted[0] ? through : undefined,
    wanted[1] ? neg(div(toScale(mul(through, x)), givenScale)) : undefined,
    wanted[2] ? mul(toScale(through), givenScale) : undefined,
  ]
}

/** The gradient itself; the scale gets Σ g·(q - zero point), the zero point -Σ g·scale. */
function dequantize(request: GradientRequest): ReturnType<GradientRule> {
  const {
    node,
    outputGradients: [g = ''],
    wanted,
    shapeOf,
    emit,
  } = request
  const [q = '', givenScale = ''] = node.inputs
  if (wanted[0] && !isInverse(request))
    return { refused: 'its scale or zero point is not that of the QuantizeLinear before' }
  if (!wanted[1] && !wanted[2]) return [g]
  const format = formatOf(request, shapeOf(q))
  if ('refused' in format) return format
  const { mul, div, neg } = algebra(emit)
  return [
    wanted[0] ? g : undefined,
    // The output is q - zero point, times the scale.
    wanted[1] ? div(format.toScale(mul(g, node.outputs[0] ?? '')), givenScale) : undefined,
    wanted[2] ? neg(mul(format.toScale(g), givenScale)) : undefined,
  ]
}

function isInverse({ node, producer, constant }: GradientRequest): boolean {
  const before = producer(node.inputs[0] ?? '')
  return (
    before !== undefined &&
    [1, 2].every((at) => {
      const [left = '', right = ''] = [before.inputs[at], node.inputs[at]]
      return left === right || sameTensor(constant(left), constant(right))
    })
  )
}

function sameTensor(left: Tensor | undefined, right: Tensor | undefined): boolean {
  return (
    left !== undefined &&
    right !== undefined &&
    left.dataType === right.dataType &&
    Buffer.compare(left.data, right.data) === 0
  )
}

interface Format {
  /** Name of the scale, which broadcasts to the quantized value. */
  readonly scale: string
  /** The same of the zero point; 0 where all are. */
  readonly zero: Operand
  readonly range: IntegerRange
  /** Sums a value of the quantized one's shape to the scale's. */
  toScale(value: string): string
}

function formatOf(request: GradientRequest, shape: readonly number[]): Format | GradientRefusal {
  const { node, shapeOf, constant, emit } = request
  const [, scale = '', zero = ''] = node.inputs
  if (intAttribute(node, 'block_size', 0) !== 0) return { refused: 'it quantizes block by block' }
  const dataType = typeOfIntegers(request, node)
  if (dataType === undefined) return { refused: 'its zero point is computed, and not by a QuantizeLinear' }
  const range = RANGES[dataType]
  if (range === undefined) return { refused: `it quantizes to ${dataType}` }

  const scaleShape = shapeOf(scale)
  const axis = positiveAxis(intAttribute(node, 'axis', 1), shape.length)
  const perAxis = scaleShape.length === 1 && shape[axis] === scaleShape[0] && shape.length > axis + 1
  const broadcastShape = perAxis ? shape.slice(axis).map((length, at) => (at === 0 ? length : 1)) : scaleShape
  const shaped = (value: string): string => (perAxis ? emit.reshape(value, broadcastShape) : value)
  return {
    scale: shaped(scale),
    zero: zero === '' || constant(zero)?.data.every((byte) => byte === 0) ? 0 : shaped(castToFloat(emit, zero)),
    range,
    toScale: (value) => {
      const sum = sumToShape(emit, value, shape, broadcastShape)
      return perAxis ? emit.reshape(sum, scaleShape) : sum
    },
  }
}

/** Of what a QuantizeLinear gives, or a DequantizeLinear takes: the zero point has the same. */
function typeOfIntegers(request: GradientRequest, node: Node): DataType | undefined {
  const [, , zero = ''] = node.inputs
  if (zero === '') return declaredType(node)
  const maker = request.producer(zero)
  return maker?.opType === 'QuantizeLinear' ? typeOfIntegers(request, maker) : request.constant(zero)?.dataType
}

interface IntegerRange {
  readonly low: number
  readonly high: number
}

const RANGES: Readonly<Partial<Record<DataType, IntegerRange>>> = {
  UINT4: { low: 0, high: 15 },
  INT4: { low: -8, high: 7 },
  UINT8: { low: 0, high: 255 },
  INT8: { low: -128, high: 127 },
  UINT16: { low: 0, high: 65535 },
  INT16: { low: -32768, high: 32767 },
}

function declaredType(node: Node): DataType {
  return DATA_TYPES[intAttribute(node, 'output_dtype', 0) - 1] ?? 'UINT8'
}
