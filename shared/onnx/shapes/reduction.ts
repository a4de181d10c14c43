import { intAttribute, intsAttribute } from '../attributes.ts'
import type { Dim, Shape } from '../graph.ts'
import { asNumbers, frontAxes, frontAxis, ofRank } from './dims.ts'
import { known, type Rule, type RuleInput, type Rules } from './rule.ts'

const REDUCTIONS = ['L1', 'L2', 'LogSum', 'LogSumExp', 'Max', 'Mean', 'Min', 'Prod', 'Sum', 'SumSquare'] as const

/** From which opset the axes are an input instead of an attribute. */
const AXES_INPUT_OPSET = 18
const REDUCE_SUM_AXES_INPUT_OPSET = 13

const reduce: Rule = (input) => [known(input.dataType(0), reduced(input))]
const argument: Rule = (input) => [known('INT64', withoutAxes(input, [intAttribute(input.node, 'axis', 0)]))]

export const reductionRules: Rules = {
  ...Object.fromEntries(REDUCTIONS.map((kind) => [`Reduce${kind}`, reduce])),
  ArgMax: argument,
  ArgMin: argument,
  TopK: (input) => {
    const shape = topShape(input)
    return [known(input.dataType(0), shape), known('INT64', shape)]
  },
}

function reduced(input: RuleInput): Shape | undefined {
  const { node, opset } = input
  const axesInput = opset >= (node.opType === 'ReduceSum' ? REDUCE_SUM_AXES_INPUT_OPSET : AXES_INPUT_OPSET)
  if (!axesInput) return withoutAxes(input, intsAttribute(node, 'axes', []))
  if (!input.hasInput(1)) return withoutAxes(input, [])
  const axes = asNumbers(input.ints(1)?.values)
  if (axes !== undefined) return withoutAxes(input, axes)
  const shape = input.shape(0)
  return shape !== undefined && keepsDims(input) ? ofRank(shape.length) : undefined
}

/** No axes mean all of them, unless the node says that none is meant. */
function withoutAxes(input: RuleInput, given: readonly number[]): Shape | undefined {
  const shape = input.shape(0)
  if (shape === undefined) return undefined
  if (given.length === 0 && intAttribute(input.node, 'noop_with_empty_axes', 0) === 1) return shape
  const axes = given.length === 0 ? new Set(shape.keys()) : frontAxes(given, shape.length)
  if (axes === undefined) return undefined
  if (keepsDims(input)) return shape.map((dim, axis) => (axes.has(axis) ? 1 : dim))
  return shape.filter((_, axis) => !axes.has(axis))
}

function keepsDims(input: RuleInput): boolean {
  return intAttribute(input.node, 'keepdims', 1) === 1
}

function topShape(input: RuleInput): Shape | undefined {
  const shape = input.shape(0)
  const axis = shape && frontAxis(intAttribute(input.node, 'axis', -1), shape.length)
  const count: Dim = input.opset >= 10 ? input.ints(1)?.values[0] : intAttribute(input.node, 'k', undefined)
  return axis === undefined ? undefined : shape?.with(axis, count)
}
