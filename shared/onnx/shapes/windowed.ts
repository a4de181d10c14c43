import { intAttribute, intsAttribute, stringAttribute } from '../attributes.ts'
import type { Dim, Node, Shape } from '../graph.ts'
import { known, type Rule, type RuleInput, type Rules } from './rule.ts'

/** How a window moves over the spatial axes (those after batch and channel). */
interface Window {
  readonly kernel: Shape
  readonly strides: readonly number[]
  readonly dilations: readonly number[]
  /** All beginnings, then all ends; already 0 for VALID. */
  readonly pads: readonly number[]
  /** SAME_UPPER or SAME_LOWER, which decide `pads` from the input. */
  readonly same: boolean
}

const convolution =
  (weightAt: number): Rule =>
  (input) => [known(convolutionType(input), convolvedShape(input, weightAt))]

const pool: Rule = (input) => {
  const shape = pooledShape(input)
  return [known(input.dataType(0), shape), known('INT64', shape)]
}

const globalPool: Rule = (input) => [
  known(
    input.dataType(0),
    input.shape(0)?.map((dim, axis) => (axis < 2 ? dim : 1)),
  ),
]

export const windowedRules: Rules = {
  Conv: convolution(1),
  ConvInteger: convolution(1),
  QLinearConv: convolution(3),
  ConvTranspose: (input) => [known(input.dataType(0), transposedShape(input))],
  AveragePool: pool,
  LpPool: pool,
  MaxPool: pool,
  GlobalAveragePool: globalPool,
  GlobalLpPool: globalPool,
  GlobalMaxPool: globalPool,
}

function convolutionType(input: RuleInput) {
  if (input.node.opType === 'ConvInteger') return 'INT32'
  // QLinearConv gives what its output zero point is.
  return input.dataType(input.node.opType === 'QLinearConv' ? 7 : 0)
}

function convolvedShape(input: RuleInput, weightAt: number): Shape | undefined {
  const x = input.shape(0)
  const weight = input.shape(weightAt)
  if (x === undefined || weight === undefined) return undefined
  const window = windowOf(input.node, weight.slice(2))
  return [x[0], weight[0], ...x.slice(2).map((dim, axis) => slidOver(dim, axis, window, false))]
}

function pooledShape(input: RuleInput): Shape | undefined {
  const x = input.shape(0)
  if (x === undefined || x.length < 2) return undefined
  const window = windowOf(input.node, new Array<Dim>(x.length - 2).fill(undefined))
  const ceil = intAttribute(input.node, 'ceil_mode', 0) === 1
  return [x[0], x[1], ...x.slice(2).map((dim, axis) => slidOver(dim, axis, window, ceil))]
}

function windowOf(node: Node, weightKernel: Shape): Window {
  const kernel = intsAttribute(node, 'kernel_shape', undefined) ?? weightKernel
  const ones = new Array<number>(kernel.length).fill(1)
  const zeros = new Array<number>(kernel.length * 2).fill(0)
  const autoPad = stringAttribute(node, 'auto_pad', 'NOTSET')
  return {
    kernel,
    strides: intsAttribute(node, 'strides', ones),
    dilations: intsAttribute(node, 'dilations', ones),
    pads: autoPad === 'NOTSET' ? intsAttribute(node, 'pads', zeros) : zeros,
    same: autoPad.startsWith('SAME'),
  }
}

function slidOver(dim: Dim, axis: number, window: Window, ceil: boolean): Dim {
  const kernel = window.kernel[axis]
  const stride = window.strides[axis] ?? 1
  if (window.same) return stride === 1 ? dim : typeof dim === 'number' ? Math.ceil(dim / stride) : undefined
  if (typeof kernel !== 'number') return undefined
  const begin = window.pads[axis] ?? 0
  const end = window.pads[axis + window.kernel.length] ?? 0
  const reach = (window.dilations[axis] ?? 1) * (kernel - 1) + 1
  if (typeof dim !== 'number') return stride === 1 && begin + end === reach - 1 ? dim : undefined
  const room = dim + begin + end - reach
  if (!ceil) return Math.floor(room / stride) + 1
  const count = Math.ceil(room / stride) + 1
  // The last window has to begin inside the input or its left padding.
  return (count - 1) * stride >= dim + begin ? count - 1 : count
}

function transposedShape(input: RuleInput): Shape | undefined {
  const { node } = input
  const x = input.shape(0)
  const weight = input.shape(1)
  if (x === undefined || weight === undefined) return undefined
  const window = windowOf(node, weight.slice(2))
  const group = intAttribute(node, 'group', 1)
  const fixed = intsAttribute(node, 'output_shape', undefined)
  const outputPadding = intsAttribute(node, 'output_padding', [])
  const spatial = x.slice(2).map((dim, axis): Dim => {
    if (fixed !== undefined) return fixed.at(axis - (x.length - 2))
    const stride = window.strides[axis] ?? 1
    const kernel = window.kernel[axis]
    if (typeof dim !== 'number' || typeof kernel !== 'number') return undefined
    if (window.same) return dim * stride
    const pads = (window.pads[axis] ?? 0) + (window.pads[axis + window.kernel.length] ?? 0)
    const reach = (window.dilations[axis] ?? 1) * (kernel - 1) + 1
    return stride * (dim - 1) + (outputPadding[axis] ?? 0) + reach - pads
  })
  const channels = weight[1]
  return [x[0], typeof channels === 'number' ? channels * group : undefined, ...spatial]
}
