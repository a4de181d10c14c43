import { floatAttribute, intAttribute, intsAttribute, intsValue, intValue, type Node } from '@edgefit/shared/onnx'
import type { Emitter } from '../emitter.ts'
import type { GradientRequest, GradientRules } from '../gradient-rule.ts'
import { algebra } from './algebra.ts'
import { sumToShape } from './broadcast.ts'

export const matrixRules: GradientRules = { Gemm: gemm, MatMul: matmul }

/** Y = α·A'·B' + β·C, where A' and B' may be the transposed A and B. */
function gemm({ node, outputGradients: [g = ''], wanted, shapeOf, emit }: GradientRequest) {
  const [a = '', b = '', c = ''] = node.inputs
  const [transA, transB] = [intAttribute(node, 'transA', 0) !== 0, intAttribute(node, 'transB', 0) !== 0]
  const alpha = floatAttribute(node, 'alpha', 1)
  const beta = floatAttribute(node, 'beta', 1)
  const times = (left: string, transLeft: boolean, right: string, transRight: boolean): string =>
    product(emit, { left, transLeft, right, transRight, alpha })
  const byA = () => (transA ? times(b, transB, g, true) : times(g, false, b, !transB))
  const byB = () => (transB ? times(g, true, a, transA) : times(a, !transA, g, false))
  const byC = () => {
    const sum = sumToShape(emit, g, shapeOf(node.outputs[0] ?? ''), shapeOf(c))
    return beta === 1 ? sum : algebra(emit).mul(sum, beta)
  }
  return [byA, byB, byC].map((gradient, at) => (wanted[at] ? gradient() : undefined))
}

/** Vectors count as a row on the left and a column on the right; leading axes broadcast. */
function matmul({ node, outputGradients: [given = ''], wanted, shapeOf, producer, emit }: GradientRequest) {
  const [a = '', b = ''] = node.inputs
  const [shapeA, shapeB] = [shapeOf(a), shapeOf(b)]
  const rows = shapeA.length === 1 ? [1, ...shapeA] : shapeA
  const columns = shapeB.length === 1 ? [...shapeB, 1] : shapeB
  if (columns.length === 2) return layer({ a, b, g: given, rows, columns, wanted, shapeA, shapeB, emit })

  const full = [...broadcastBatch(rows, columns), rows.at(-2) ?? 1, columns.at(-1) ?? 1]
  const shaped = (value: string, shape: readonly number[], as: readonly number[]): string =>
    shape.length === as.length ? value : emit.reshape(value, as)
  const g = shaped(given, shapeOf(node.outputs[0] ?? ''), full)
  const byA = () => {
    const each = emit.add('MatMul', [g, transposed(emit, b, columns.length)])
    const sum = sumToShape(emit, each, [...full.slice(0, -1), rows.at(-1) ?? 1], rows)
    return shaped(sum, rows, shapeA)
  }
  const byB = () => {
    const left = shaped(a, shapeA, rows)
    const [inner = 1, outer = 1] = columns.slice(-2)
    const batch = columns.slice(0, -2)
    if (!isTurned(producer(b), columns.length)) {
      const each = emit.add('MatMul', [transposed(emit, left, rows.length), g])
      return sumToShape(emit, each, [...full.slice(0, -2), inner, outer], columns)
    }
    // Turned back by the rule of what turned b, and so never turned at all.
    const each = emit.add('MatMul', [transposed(emit, g, full.length), left])
    const sum = sumToShape(emit, each, [...full.slice(0, -2), outer, inner], [...batch, outer, inner])
    return transposed(emit, sum, columns.length)
  }
  return [wanted[0] ? byA() : undefined, wanted[1] ? byB() : undefined]
}

interface Layer {
  readonly a: string
  readonly b: string
  readonly g: string
  /** Shapes of a and b, as matrices and as they are. */
  readonly rows: readonly number[]
  readonly columns: readonly number[]
  readonly shapeA: readonly number[]
  readonly shapeB: readonly number[]
  readonly wanted: readonly boolean[]
  readonly emit: Emitter
}

/** Where b is one matrix, all rows of a are one matrix too: no transposed copies, no products summed afterwards. */
function layer({ a, b, g, rows, columns: [inner = 1, outer = 1], shapeA, shapeB, wanted, emit }: Layer) {
  const count = rows.slice(0, -1).reduce((product, length) => product * length, 1)
  const flatG = rows.length === 2 && shapeA.length === 2 && shapeB.length === 2 ? g : emit.reshape(g, [count, outer])
  const byA = () => {
    const right = shapeB.length === 2 ? b : emit.reshape(b, [inner, outer])
    const gradient = product(emit, { left: flatG, transLeft: false, right, transRight: true })
    return shapeA.length === 2 ? gradient : emit.reshape(gradient, shapeA)
  }
  const byB = () => {
    const left = shapeA.length === 2 ? a : emit.reshape(a, [count, inner])
    const gradient = product(emit, { left, transLeft: true, right: flatG, transRight: false })
    return shapeB.length === 2 ? gradient : emit.reshape(gradient, shapeB)
  }
  return [wanted[0] ? byA() : undefined, wanted[1] ? byB() : undefined]
}

interface Product {
  readonly left: string
  readonly transLeft: boolean
  readonly right: string
  readonly transRight: boolean
  readonly alpha?: number
}

function product(emit: Emitter, { left, transLeft, right, transRight, alpha = 1 }: Product): string {
  return emit.add('Gemm', [left, right], {
    transA: intValue(transLeft ? 1 : 0),
    transB: intValue(transRight ? 1 : 0),
    alpha: { kind: 'FLOAT', value: alpha },
  })
}

function transposed(emit: Emitter, value: string, rank: number): string {
  const axes = Array.from({ length: rank }, (_, axis) => axis)
  return emit.add('Transpose', [value], { perm: intsValue([...axes.slice(0, -2), rank - 1, rank - 2]) })
}

/** Whether it swaps the last two of `rank` axes and nothing else. */
function isTurned(producer: Node | undefined, rank: number): boolean {
  if (producer?.opType !== 'Transpose' || producer.domain !== '') return false
  const axes = Array.from({ length: rank }, (_, axis) => axis)
  return intsAttribute(producer, 'perm', []).join() === [...axes.slice(0, -2), rank - 1, rank - 2].join()
}

function broadcastBatch(a: readonly number[], b: readonly number[]): readonly number[] {
  const rank = Math.max(a.length, b.length) - 2
  const batch = (shape: readonly number[], axis: number): number =>
    shape.slice(0, -2)[axis - rank + shape.length - 2] ?? 1
  return Array.from({ length: rank }, (_, axis) => {
    const length = batch(a, axis)
    return length === 1 ? batch(b, axis) : length
  })
}
