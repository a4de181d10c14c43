import { intAttribute } from '@edgefit/shared/onnx'
import { type Axis, type Flow, type NodeView, type Rules, UNKNOWN_SHAPE } from '../rule.ts'
import { broadcastAxes } from './elementwise.ts'

export const matrixRules: Rules = { Gemm: gemm, MatMul: matMul }

function gemm(view: NodeView): Flow | string {
  const rowsAt = intAttribute(view.node, 'transA', 0) === 0 ? 0 : 1
  const depthAt = intAttribute(view.node, 'transB', 0) === 0 ? 0 : 1
  const outAt = 1 - depthAt
  if (view.shape(0) === undefined || view.shape(1) === undefined) return UNKNOWN_SHAPE
  view.setRole(1, depthAt, 'reader')
  view.setRole(1, outAt, 'filter')
  view.tie(view.axis(0, 1 - rowsAt), view.axis(1, depthAt))
  const product: readonly Axis[] = [view.axis(0, rowsAt), view.axis(1, outAt)]
  if (!view.has(2)) return { outputs: [product] }
  const bias = view.shape(2)
  if (bias === undefined) return UNKNOWN_SHAPE
  const last = bias.length - 1
  if (last >= 0) view.setRole(2, last, 'bias')
  const [, output] = view.outputShape(0) ?? []
  return {
    outputs: [
      broadcastAxes(view, [
        { shape: [undefined, output], axis: (at) => product[at] ?? null },
        { shape: bias, axis: (at) => view.axis(2, at) },
      ]),
    ],
  }
}

function matMul(view: NodeView): Flow | string {
  const left = view.shape(0)
  const right = view.shape(1)
  if (left === undefined || right === undefined) return UNKNOWN_SHAPE
  if (left.length < 2 || right.length < 2) return 'a product with a vector'
  if (view.constant(1) !== undefined) {
    view.setRole(1, right.length - 2, 'reader')
    view.setRole(1, right.length - 1, 'filter')
  }
  view.tie(view.axis(0, left.length - 1), view.axis(1, right.length - 2))
  const batch = broadcastAxes(view, [
    { shape: left.slice(0, -2), axis: (at) => view.axis(0, at) },
    { shape: right.slice(0, -2), axis: (at) => view.axis(1, at) },
  ])
  return { outputs: [[...batch, view.axis(0, left.length - 2), view.axis(1, right.length - 1)]] }
}
