import type { Dim } from '../graph.ts'
import { broadcast, combineDims } from './dims.ts'
import { type KnownInts, known, type Rule, type RuleInput, type Rules } from './rule.ts'

const UNARY = [
  'Abs',
  'Acos',
  'Acosh',
  'Asin',
  'Asinh',
  'Atan',
  'Atanh',
  'BitwiseNot',
  'Ceil',
  'Celu',
  'Clip',
  'Cos',
  'Cosh',
  'CumSum',
  'Elu',
  'Erf',
  'Exp',
  'Floor',
  'Gelu',
  'HardSigmoid',
  'HardSwish',
  'Hardmax',
  'InstanceNormalization',
  'GroupNormalization',
  'LRN',
  'LeakyRelu',
  'Log',
  'LogSoftmax',
  'LpNormalization',
  'MeanVarianceNormalization',
  'Mish',
  'Neg',
  'Not',
  'PRelu',
  'Reciprocal',
  'Relu',
  'Round',
  'ScatterElements',
  'ScatterND',
  'Scatter',
  'Selu',
  'Shrink',
  'Sigmoid',
  'Sign',
  'Sin',
  'Sinh',
  'Softmax',
  'Softplus',
  'Softsign',
  'Sqrt',
  'Tan',
  'Tanh',
  'ThresholdedRelu',
  'Trilu',
] as const

/** Output 0 has the type and shape of input 0. */
const likeFirst: Rule = (input) => [known(input.dataType(0), input.shape(0))]

const arithmetic =
  (compute?: (left: number, right: number) => number): Rule =>
  (input) => [known(input.dataType(0), broadcastAll(input), compute && pairwise(input, 0, 1, compute))]

const comparison =
  (compute?: (left: number, right: number) => boolean): Rule =>
  (input) => [
    known('BOOL', broadcastAll(input), compute && pairwise(input, 0, 1, (left, right) => Number(compute(left, right)))),
  ]

const where: Rule = (input) => [known(input.dataType(1), broadcastAll(input), chosenInts(input))]

const divide = (left: number, right: number): number => Math.trunc(left / right)

export const elementwiseRules: Rules = {
  ...Object.fromEntries(UNARY.map((opType) => [opType, likeFirst])),
  Add: arithmetic((left, right) => left + right),
  Sub: arithmetic((left, right) => left - right),
  Mul: arithmetic((left, right) => left * right),
  Div: arithmetic(divide),
  Max: arithmetic(),
  Min: arithmetic(),
  Mean: arithmetic(),
  Sum: arithmetic(),
  Mod: arithmetic(),
  Pow: arithmetic(),
  BitShift: arithmetic(),
  BitwiseAnd: arithmetic(),
  BitwiseOr: arithmetic(),
  BitwiseXor: arithmetic(),
  And: comparison(),
  Or: comparison(),
  Xor: comparison(),
  Equal: comparison((left, right) => left === right),
  Greater: comparison((left, right) => left > right),
  GreaterOrEqual: comparison((left, right) => left >= right),
  Less: comparison((left, right) => left < right),
  LessOrEqual: comparison((left, right) => left <= right),
  IsInf: (input) => [known('BOOL', input.shape(0))],
  IsNaN: (input) => [known('BOOL', input.shape(0))],
  Where: where,
}

function broadcastAll(input: RuleInput) {
  return broadcast(Array.from({ length: input.inputCount }, (_, position) => input.shape(position)))
}

function pairwise(
  input: RuleInput,
  first: number,
  second: number,
  compute: (left: number, right: number) => number,
): KnownInts | undefined {
  const left = input.ints(first)
  const right = input.ints(second)
  if (left === undefined || right === undefined) return undefined
  return zip([left, right], ([a, b]) => combineDims(a, b, compute))
}

function chosenInts(input: RuleInput): KnownInts | undefined {
  const choices = [input.ints(0), input.ints(1), input.ints(2)]
  if (!choices.every((ints) => ints !== undefined)) return undefined
  return zip(choices, ([condition, yes, no]) =>
    typeof condition !== 'number' ? undefined : condition === 0 ? no : yes,
  )
}

/** Elements pair up when the dims are equal; a single one serves all. */
function zip(all: readonly KnownInts[], compute: (dims: readonly Dim[]) => Dim): KnownInts | undefined {
  const [widest] = all.toSorted((a, b) => b.values.length - a.values.length || b.dims.length - a.dims.length)
  if (widest === undefined) return undefined
  const fits = (ints: KnownInts): boolean =>
    ints.values.length === 1
      ? ints.dims.length <= widest.dims.length
      : ints.dims.length === widest.dims.length && ints.dims.every((dim, axis) => dim === widest.dims[axis])
  if (!all.every(fits)) return undefined
  const at = (ints: KnownInts, position: number): Dim => ints.values[ints.values.length === 1 ? 0 : position]
  return {
    dims: widest.dims,
    values: widest.values.map((_, position) => compute(all.map((ints) => at(ints, position)))),
  }
}
