import { elementCount, intAttribute } from '@edgefit/shared/onnx'
import type { GradientRequest, GradientRule, GradientRules } from '../gradient-rule.ts'
import { type Algebra, algebra } from './algebra.ts'
import { positiveAxis } from './axes.ts'
import { staticInts } from './constants.ts'

export const reductionRules: GradientRules = {
  ReduceSum: reduction(({ g, spread }) => spread(g)),
  ReduceMean: reduction(({ g, count, spread, div }) => spread(div(g, count))),
  ReduceMax: reduction(extreme),
  ReduceMin: reduction(extreme),
  ReduceL1: reduction(({ x, g, mul, sign }) => mul(g, sign(x))),
  /** Zero where all elements are, though there it has no gradient. */
  ReduceL2: reduction(({ x, y, g, mul, div, where, greater }) => {
    const positive = greater(y, 0)
    return mul(x, where(positive, div(g, where(positive, y, 1)), 0))
  }),
  ReduceSumSquare: reduction(({ x, g, mul }) => mul(x, mul(2, g))),
  ReduceLogSumExp: reduction(({ x, y, g, mul, exp, sub }) => mul(g, exp(sub(x, y)))),
}

/** Of a single element they are that element. */
const OF_ONE_THE_SAME: ReadonlySet<string> = new Set(['ReduceSum', 'ReduceMean', 'ReduceMax', 'ReduceMin'])

interface ReductionTerms extends Algebra {
  /** Names of the input, the output, and dL/d(output), the latter two with the reduced axes kept. */
  readonly x: string
  readonly y: string
  readonly g: string
  /** Elements that make one. */
  readonly count: number
  /** Stretches a value of the output's shape to the input's. */
  spread(value: string): string
  /** Sums a value of the input's shape as the operator does. */
  sum(value: string): string
}

/** Elements that reach the maximum or minimum share its gradient. */
function extreme({ x, y, g, mul, div, equal, indicator, sum }: ReductionTerms): string {
  const reached = indicator(equal(x, y))
  return mul(reached, div(g, sum(reached)))
}

function reduction(gradient: (terms: ReductionTerms) => string): GradientRule {
  return (request) => {
    const {
      node,
      outputGradients: [given = ''],
      shapeOf,
      emit,
    } = request
    const [x = ''] = node.inputs
    const [output = ''] = node.outputs
    const shape = shapeOf(x)
    const axes = reducedAxes(request, shape.length)
    if ('refused' in axes) return axes
    if (axes.length === 0 && OF_ONE_THE_SAME.has(node.opType)) return [given]
    if (axes.length === 0 && shape.length > 0) return { refused: 'it reduces no axis' }
    const keptShape = shape.map((length, axis) => (axes.includes(axis) ? 1 : length))
    const keeps = intAttribute(node, 'keepdims', 1) !== 0
    const kept = (value: string): string => (keeps ? value : emit.reshape(value, keptShape))
    return [
      gradient({
        ...algebra(emit),
        x,
        y: kept(output),
        g: kept(given),
        count: elementCount(shape) / elementCount(keptShape),
        spread: (value) => emit.add('Expand', [value, emit.ints(shape)]),
        sum: (value) => emit.reduceSum(value, axes, true),
      }),
    ]
  }
}

/** An attribute in older opsets, an input in newer ones. Without any it is all axes, or none if the node says so. */
function reducedAxes(request: GradientRequest, rank: number): readonly number[] | { readonly refused: string } {
  const axes = staticInts(request, 1, 'axes')
  if (axes !== undefined && 'refused' in axes) return axes
  if (axes !== undefined && axes.length > 0) return axes.map((axis) => positiveAxis(axis, rank))
  const none = intAttribute(request.node, 'noop_with_empty_axes', 0) !== 0
  return none ? [] : Array.from({ length: rank }, (_, axis) => axis)
}
