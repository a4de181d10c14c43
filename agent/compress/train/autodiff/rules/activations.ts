import { floatAttribute, intAttribute, type Node, stringAttribute } from '@edgefit/shared/onnx'
import type { GradientRequest, GradientRule, GradientRules } from '../gradient-rule.ts'
import { type Algebra, algebra } from './algebra.ts'
import { positiveAxis } from './axes.ts'
import { sumToShape } from './broadcast.ts'
import { unary } from './unary.ts'

/** At a kink the gradient is that of the flat side. */
export const activationRules: GradientRules = {
  // A product with ones and zeros takes the runtime less than half the time of Where with a single number.
  Relu: unary(({ y, g, mul, greater, indicator }) => mul(g, indicator(greater(y, 0)))),
  LeakyRelu: unary(({ node, x, g, mul, where, greater }) =>
    where(greater(x, 0), g, mul(g, floatAttribute(node, 'alpha', 0.01))),
  ),
  PRelu: parametricRelu,
  Clip: clip,
  Elu: unary(({ node, x, y, g, add, mul, where, greater }) =>
    where(greater(x, 0), g, mul(g, add(y, floatAttribute(node, 'alpha', 1)))),
  ),
  Sigmoid: unary(({ y, g, mul, sub }) => mul(g, mul(y, sub(1, y)))),
  Tanh: unary(({ y, g, mul, sub, square }) => mul(g, sub(1, square(y)))),
  Softplus: unary(({ x, g, mul, sigmoid }) => mul(g, sigmoid(x))),
  Softsign: unary(({ x, g, div, square, add, abs }) => div(g, square(add(1, abs(x))))),
  HardSigmoid: unary(({ node, y, g, mul, where, and, greater, less }) =>
    where(and(greater(y, 0), less(y, 1)), mul(g, floatAttribute(node, 'alpha', 0.2)), 0),
  ),
  /** x·clip(x/6 + 1/2, 0, 1) */
  HardSwish: unary(({ x, g, mul, add, div, where, greater, less }) =>
    where(greater(x, -3), where(less(x, 3), mul(g, add(div(x, 3), 0.5)), g), 0),
  ),
  Gelu: unary((terms) => terms.mul(terms.g, geluSlope(terms, terms.node))),
  Softmax: softmax,
  LogSoftmax: logSoftmax,
}

/** Negative inputs are multiplied by a slope, which may be learned. */
function parametricRelu({ node, outputGradients: [g = ''], wanted, shapeOf, emit }: GradientRequest) {
  const [x = '', slope = ''] = node.inputs
  const { where, less, mul } = algebra(emit)
  const negative = less(x, 0)
  return [
    wanted[0] ? where(negative, mul(g, slope), g) : undefined,
    wanted[1] ? sumToShape(emit, where(negative, mul(g, x), 0), shapeOf(x), shapeOf(slope)) : undefined,
  ]
}

/**
 * The bounds are inputs from opset 11 on, attributes before; either may be left out. What lies between them is told from
 * the output where that opset is valid beside what is emitted, so that the input need not be kept.
 */
function clip({ node, outputGradients: [g = ''], wanted, emit }: GradientRequest): ReturnType<GradientRule> {
  if (wanted.slice(1).includes(true)) return { refused: 'its bounds are trained' }
  const { and, greater, indicator, less, mul } = algebra(emit)
  const [x = '', ...bounds] = node.inputs
  const [y = ''] = bounds.length > 0 ? node.outputs : [x]
  const [low, high] = ['min', 'max'].map((name, at) => bounds[at] || floatAttribute(node, name, undefined))
  const inside = [low === undefined ? [] : greater(y, low), high === undefined ? [] : less(y, high)].flat()
  return [inside.length === 0 ? g : mul(g, indicator(inside.reduce(and)))]
}

/** Of x·Φ(x): Φ(x) + x·φ(x), or the same of its approximation by tanh. */
function geluSlope(terms: Algebra & { readonly x: string }, node: Node): string {
  const { x, add, sub, mul, exp, erf, tanh, square } = terms
  if (stringAttribute(node, 'approximate', 'none') === 'none') {
    const cumulative = mul(0.5, add(1, erf(mul(x, Math.SQRT1_2))))
    const density = mul(1 / Math.sqrt(2 * Math.PI), exp(mul(-0.5, square(x))))
    return add(cumulative, mul(x, density))
  }
  const scale = Math.sqrt(2 / Math.PI)
  const cubic = 0.044715
  const inner = mul(mul(scale, x), add(1, mul(cubic, square(x))))
  const innerSlope = mul(scale, add(1, mul(3 * cubic, square(x))))
  const squashed = tanh(inner)
  return mul(0.5, add(add(1, squashed), mul(mul(x, innerSlope), sub(1, square(squashed)))))
}

/** y·(g - Σ g·y) */
function softmax({ node, outputGradients: [g = ''], shapeOf, emit }: GradientRequest) {
  const [y = ''] = node.outputs
  const { mul, sub } = algebra(emit)
  return [
    mul(y, sub(g, emit.reduceSum(mul(g, y), [positiveAxis(intAttribute(node, 'axis', -1), shapeOf(y).length)], true))),
  ]
}

/** g - exp(y)·Σ g */
function logSoftmax({ node, outputGradients: [g = ''], shapeOf, emit }: GradientRequest) {
  const [y = ''] = node.outputs
  const { mul, sub, exp } = algebra(emit)
  return [
    sub(g, mul(exp(y), emit.reduceSum(g, [positiveAxis(intAttribute(node, 'axis', -1), shapeOf(y).length)], true))),
  ]
}
