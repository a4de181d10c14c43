import { floatValue, intsValue, intValue } from '@edgefit/shared/onnx'
import { describe, it } from 'vitest'
import { op } from '../../../support/graphs.ts'
import { expectGradients } from '../../support/finite-difference.ts'

const products: readonly (readonly [string, number[], number[]])[] = [
  ['matrices', [3, 4], [4, 2]],
  ['vectors', [4], [4]],
  ['a vector and a matrix', [4], [4, 3]],
  ['a matrix and a vector', [3, 4], [4]],
  ['a batch and a matrix', [2, 3, 4], [4, 2]],
  ['a batch and a vector', [2, 3, 4], [4]],
  ['batches', [2, 3, 4], [2, 4, 2]],
  ['two leading axes', [2, 2, 3, 4], [2, 2, 4, 2]],
  ['a matrix and a batch', [3, 4], [2, 4, 2]],
  ['a vector and a batch', [4], [2, 4, 3]],
  ['a stretched left', [1, 3, 4], [2, 4, 2]],
  ['a stretched right', [3, 2, 2, 3], [1, 2, 3, 2]],
  ['both stretched', [2, 1, 2, 3], [3, 3, 2]],
]

describe('MatMul of', () => {
  it.each(products)('%s', async (_, a, b) => {
    await expectGradients({ nodes: [op('MatMul', 'a b -> y')], inputs: { a, b } })
  })
})

const turned: readonly (readonly [string, number[], number[], number[]])[] = [
  ['a batch', [2, 3, 4], [2, 5, 4], [0, 2, 1]],
  ['a stretched batch', [2, 3, 2, 3], [2, 1, 4, 3], [0, 1, 3, 2]],
  ['a batch for one matrix', [3, 4], [2, 5, 4], [0, 2, 1]],
  ['other axes than the last', [2, 3, 4], [4, 2, 5], [1, 0, 2]],
]

describe('MatMul with a transposed right:', () => {
  it.each(turned)('%s', async (_, a, c, perm) => {
    const nodes = [op('Transpose', 'c -> b', { perm: intsValue(perm) }), op('MatMul', 'a b -> y')]

    await expectGradients({ nodes, inputs: { a, c } })
  })
})

const flags = [0, 1].flatMap((transA) => [0, 1].map((transB) => ({ transA, transB })))
const biases: readonly (readonly number[])[] = [[3, 2], [2], [1], [], [3, 1], [1, 2]]

describe('Gemm', () => {
  it.each(flags)('transA $transA, transB $transB', async ({ transA, transB }) => {
    const attributes = {
      transA: intValue(transA),
      transB: intValue(transB),
      alpha: floatValue(0.7),
      beta: floatValue(1.6),
    }
    const inputs = { a: transA ? [4, 3] : [3, 4], b: transB ? [2, 4] : [4, 2], c: [2] }
    await expectGradients({ nodes: [op('Gemm', 'a b c -> y', attributes)], inputs })
  })

  it.each(biases)('a bias of another shape %#', async (...c) => {
    await expectGradients({ nodes: [op('Gemm', 'a b c -> y')], inputs: { a: [3, 4], b: [4, 2], c } })
  })

  it('without a bias', async () => {
    await expectGradients({ nodes: [op('Gemm', 'a b -> y')], inputs: { a: [3, 4], b: [4, 2] } })
  })
})
