import type { Shape } from '@edgefit/shared/onnx'
import { type Axis, type Flow, type NodeView, type Rule, type Rules, UNKNOWN_SHAPE } from '../rule.ts'

const UNARY = [
  'Abs',
  'Cast',
  'Ceil',
  'Celu',
  'Clip',
  'Cos',
  'Dropout',
  'Elu',
  'Erf',
  'Exp',
  'Floor',
  'Gelu',
  'HardSigmoid',
  'HardSwish',
  'Identity',
  'LeakyRelu',
  'Log',
  'Mish',
  'Neg',
  'Not',
  'Reciprocal',
  'Relu',
  'Round',
  'Selu',
  'Sigmoid',
  'Sign',
  'Sin',
  'Softplus',
  'Softsign',
  'Sqrt',
  'Tanh',
  'ThresholdedRelu',
]
const BROADCASTING = ['Add', 'Div', 'Max', 'Mean', 'Min', 'Mul', 'Pow', 'PRelu', 'Sub', 'Sum', 'Where']

/** Operators that treat every element alike. */
export const elementwiseRules: Rules = {
  ...Object.fromEntries(UNARY.map((opType): [string, Rule] => [opType, unary])),
  ...Object.fromEntries(BROADCASTING.map((opType): [string, Rule] => [opType, broadcasting])),
}

function unary(view: NodeView): Flow | string {
  if (view.shape(0) === undefined) return UNKNOWN_SHAPE
  const axes = view.axes(0)
  return { outputs: view.node.outputs.map(() => axes) }
}

function broadcasting(view: NodeView): Flow | string {
  const operands = view.node.inputs.map((_, position) => ({
    shape: view.shape(position),
    axis: (at: number) => view.axis(position, at),
  }))
  const known = operands.flatMap(({ shape, axis }) => (shape === undefined ? [] : [{ shape, axis }]))
  if (known.length < operands.length) return UNKNOWN_SHAPE
  return { outputs: [broadcastAxes(view, known)] }
}

export interface Operand {
  readonly shape: Shape
  readonly axis: (at: number) => Axis
}

/** Ties the axes that meet when operands are aligned at their last axis; those of length 1 stretch and are free. */
export function broadcastAxes(view: NodeView, operands: readonly Operand[]): readonly Axis[] {
  const rank = Math.max(0, ...operands.map(({ shape }) => shape.length))
  return Array.from({ length: rank }, (_, at) => {
    const meeting = operands.flatMap(({ shape, axis }) => {
      const own = at - (rank - shape.length)
      return own < 0 || shape[own] === 1 ? [] : [axis(own)]
    })
    const first = meeting.find((axis) => axis !== null) ?? null
    for (const axis of meeting) view.tie(first, axis)
    return first
  })
}
