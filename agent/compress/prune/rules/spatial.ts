import { intAttribute, intsAttribute } from '@edgefit/shared/onnx'
import { type Axis, type Flow, freezeSpatial, frontAxis, type NodeView, type Rules, UNKNOWN_SHAPE } from '../rule.ts'

/** Operators that work along height and width and leave channels to themselves. */
export const spatialRules: Rules = {
  AveragePool: pool,
  GlobalAveragePool: pool,
  GlobalLpPool: pool,
  GlobalMaxPool: pool,
  LpPool: pool,
  MaxPool: (view) => ((view.node.outputs[1] ?? '') === '' ? pool(view) : 'its indices count across channels'),
  Pad: pad,
  Resize: resize,
  Upsample: (view) => scaled(view, 1),
  ReduceL1: reduce,
  ReduceL2: reduce,
  ReduceMax: reduce,
  ReduceMean: reduce,
  ReduceMin: reduce,
  ReduceProd: reduce,
  ReduceSum: reduce,
  ReduceSumSquare: reduce,
  Softmax: softmax,
  LogSoftmax: softmax,
}

function pool(view: NodeView): Flow | string {
  const shape = view.shape(0)
  if (shape === undefined) return UNKNOWN_SHAPE
  freezeSpatial(view)
  return { outputs: [shape.map((_, axis) => (axis < 2 ? view.axis(0, axis) : null))] }
}

function pad(view: NodeView): Flow | string {
  const shape = view.shape(0)
  const pads = intsAttribute(view.node, 'pads', undefined) ?? view.ints(1)
  if (shape === undefined || pads === undefined || pads.length !== 2 * shape.length) return UNKNOWN_SHAPE
  return keepAxes(view, (axis) => pads[axis] === 0 && pads[axis + shape.length] === 0, 'it pads channels')
}

/** `roi` came with opset 11 and moved scales from the second place to the third. */
function resize(view: NodeView): Flow | string {
  if (view.has(3)) return 'its sizes are given, not its scales'
  return scaled(view, view.opset >= 11 ? 2 : 1)
}

function scaled(view: NodeView, position: number): Flow | string {
  const before = view.shape(0)
  const after = view.outputShape(0)
  if (before === undefined || after === undefined || view.constant(position) === undefined) return UNKNOWN_SHAPE
  return keepAxes(view, (axis) => before[axis] === after[axis], 'it resizes channels')
}

function reduce(view: NodeView): Flow | string {
  const shape = view.shape(0)
  if (shape === undefined) return UNKNOWN_SHAPE
  const given = intsAttribute(view.node, 'axes', undefined) ?? (view.has(1) ? view.ints(1) : [])
  if (given === undefined) return 'its axes are not constant'
  if (given.length === 0 && intAttribute(view.node, 'noop_with_empty_axes', 0) !== 0) return { outputs: [view.axes(0)] }
  const reduced = new Set(given.length === 0 ? shape.keys() : given.map((axis) => frontAxis(axis, shape.length)))
  const [axes = []] = keepAxes(view, (axis) => !reduced.has(axis), 'it reduces over channels').outputs
  const keepDims = intAttribute(view.node, 'keepdims', 1) !== 0
  return { outputs: [keepDims ? axes : axes.filter((_, axis) => !reduced.has(axis))] }
}

/** Before opset 13 it works on everything from `axis` on. */
function softmax(view: NodeView): Flow | string {
  const shape = view.shape(0)
  if (shape === undefined) return UNKNOWN_SHAPE
  const axis = frontAxis(intAttribute(view.node, 'axis', view.opset >= 13 ? -1 : 1), shape.length)
  return keepAxes(view, (at) => (view.opset >= 13 ? at !== axis : at < axis), 'it weighs channels against each other')
}

function keepAxes(view: NodeView, isFree: (axis: number) => boolean, reason: string): Flow {
  const axes = view.axes(0).map((labels, axis): Axis => {
    if (isFree(axis)) return labels
    view.freeze(labels, `${view.node.opType}: ${reason}`)
    return null
  })
  return { outputs: [axes] }
}
