import type { GradientRequest, GradientRule, GradientRules } from '../gradient-rule.ts'
import { algebra, castToFloat } from './algebra.ts'
import { sumToShape } from './broadcast.ts'
import { constantNumber } from './constants.ts'
import { unary } from './unary.ts'

const identity = unary(({ g }) => g)
/** A function of steps: its gradient is zero wherever it has one. */
const flat: GradientRule = () => []
const sum: GradientRule = (request) => broadcasting(request, ({ g }) => g)

export const elementwiseRules: GradientRules = {
  Add: sum,
  Sum: sum,
  Mean: (request) => broadcasting(request, ({ g, div }) => div(g, request.node.inputs.length)),
  Sub: (request) => broadcasting(request, ({ g, at, neg }) => (at === 0 ? g : neg(g))),
  Mul: (request) => broadcasting(request, ({ g, at, mul }) => mul(g, request.node.inputs[1 - at] ?? '')),
  Div: (request) =>
    broadcasting(request, ({ g, at, y, div, mul, neg }) => {
      const scaled = div(g, request.node.inputs[1] ?? '')
      return at === 0 ? scaled : neg(mul(scaled, y))
    }),
  Pow: power,
  Max: extreme,
  Min: extreme,
  Where: (request) => {
    const [condition = ''] = request.node.inputs
    return broadcasting(request, ({ g, at, where }) => (at === 1 ? where(condition, g, 0) : where(condition, 0, g)))
  },

  Identity: identity,
  // Between integers and floats no gradient flows, so that what comes here is a cast from float32 to float32.
  Cast: identity,
  CastLike: identity,
  Dropout: dropout,
  Neg: unary(({ g, neg }) => neg(g)),
  Abs: unary(({ x, g, mul, sign }) => mul(g, sign(x))),
  Sqrt: unary(({ y, g, mul, div }) => div(mul(g, 0.5), y)),
  Exp: unary(({ y, g, mul }) => mul(g, y)),
  Log: unary(({ x, g, div }) => div(g, x)),
  Reciprocal: unary(({ y, g, mul, neg, square }) => neg(mul(g, square(y)))),
  Erf: unary(({ x, g, mul, exp, neg, square }) => mul(g, mul(2 / Math.sqrt(Math.PI), exp(neg(square(x)))))),
  Ceil: flat,
  Floor: flat,
  Round: flat,
  Sign: flat,
}

interface BroadcastTerms extends ReturnType<typeof algebra> {
  /** Position of the input. */
  readonly at: number
  /** Names of the output and of dL/d(output). */
  readonly y: string
  readonly g: string
}

/** `gradient` gives dL/d(input) in the shape of the output; the axes that broadcasting stretched are summed. */
function broadcasting(
  { node, outputGradients: [g = ''], wanted, shapeOf, emit }: GradientRequest,
  gradient: (terms: BroadcastTerms) => string,
): readonly (string | undefined)[] {
  const [y = ''] = node.outputs
  const terms = algebra(emit)
  return node.inputs.map((value, at) =>
    wanted[at] ? sumToShape(emit, gradient({ ...terms, at, y, g }), shapeOf(y), shapeOf(value)) : undefined,
  )
}

/** d(x^p) = p x^(p-1) dx + x^p ln(x) dp; a base that is not positive gives its exponent no gradient. */
function power(request: GradientRequest): readonly (string | undefined)[] {
  const { node, emit } = request
  const [x = '', p = ''] = node.inputs
  const fixed = constantNumber(request.constant(p))
  return broadcasting(request, ({ g, at, y, mul, sub, pow, log, where, greater, equal }) => {
    if (at === 1) return mul(mul(g, y), where(greater(x, 0), log(where(greater(x, 0), x, 1)), 0))
    if (fixed === 2) return mul(g, mul(2, x))
    if (fixed === 0) return mul(g, 0)
    // An exponent may be an integer.
    const exponent = fixed ?? castToFloat(emit, p)
    if (typeof exponent === 'number') return mul(g, mul(exponent, pow(x, exponent - 1)))
    // x⁰ is 1 for every x, also for 0, where the formula divides by it.
    return mul(g, where(equal(exponent, 0), 0, mul(exponent, pow(x, sub(exponent, 1)))))
  })
}

/** Inputs that share the largest (or smallest) value share its gradient. */
function extreme(request: GradientRequest): readonly (string | undefined)[] {
  const { node, emit } = request
  const { indicator, equal, mul, div } = algebra(emit)
  const [y = ''] = node.outputs
  const reached = node.inputs.map((value) => indicator(equal(value, y)))
  const share = div(request.outputGradients[0] ?? '', emit.add('Sum', reached))
  return broadcasting(request, ({ at }) => mul(share, reached[at] ?? ''))
}

/** Outside training it hands its input on. */
function dropout({ node, outputGradients: [g], constant }: GradientRequest): ReturnType<GradientRule> {
  const [, , training = ''] = node.inputs
  const trains = training !== '' && constant(training)?.data[0] !== 0
  return trains ? { refused: 'it drops at random' } : [g]
}
