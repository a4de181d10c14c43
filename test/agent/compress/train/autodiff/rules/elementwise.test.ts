import { floatTensor, int64Tensor, intValue } from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import { op } from '../../../support/graphs.ts'
import { expectGradients, type GradientCase, spread } from '../../support/finite-difference.ts'

const positive = (name: string, dims: readonly number[], seed = 5) =>
  spread(name, dims, seed, { center: 2, width: 2.5 })

const unary: readonly (readonly [string, number[]])[] = [
  ['Identity', [2, 3]],
  ['Neg', [2, 3]],
  ['Abs', [3, 4]],
  ['Exp', [2, 3]],
  ['Erf', [4, 3]],
]

describe('functions of single elements', () => {
  it.each(unary)('%s', async (opType, dims) => {
    await expectGradients({ nodes: [op(opType, 'x -> y')], inputs: { x: dims } })
  })

  it.each(['Sqrt', 'Log', 'Reciprocal'])('%s', async (opType) => {
    await expectGradients({ nodes: [op(opType, 'x -> y')], inputs: { x: positive('x', [2, 5]) } })
  })

  it('Cast', async () => {
    await expectGradients({ nodes: [op('Cast', 'x -> y', { to: intValue(1) })], inputs: { x: [2, 3] } })
  })
})

const binary: readonly (readonly [string, number[], number[]])[] = [
  ['equal shapes', [2, 3], [2, 3]],
  ['a row', [2, 3], [3]],
  ['a column', [2, 3], [2, 1]],
  ['a scalar', [2, 3], []],
  ['channels', [2, 3, 2, 2], [3, 1, 1]],
  ['both ways', [2, 1, 3], [4, 1]],
  ['a longer second', [1], [2, 1, 2]],
]

describe.each(['Add', 'Sub', 'Mul', 'Div', 'Max', 'Min', 'Sum', 'Mean'])('%s', (opType) => {
  it.each(binary)('broadcasts %s', async (_, a, b) => {
    const inputs = { a, b: opType === 'Div' ? positive('b', b) : b }
    await expectGradients({ nodes: [op(opType, 'a b -> y')], inputs })
  })
})

const more: Readonly<Record<string, GradientCase>> = {
  'a value added to itself': { nodes: [op('Add', 'x x -> y')], inputs: { x: [2, 3] } },
  'a value times itself': { nodes: [op('Mul', 'x x -> y')], inputs: { x: [2, 3] } },
  'Sum of three': { nodes: [op('Sum', 'a b c -> y')], inputs: { a: [2, 3], b: [3], c: [] } },
  'Max of three': { nodes: [op('Max', 'a b c -> y')], inputs: { a: [2, 3], b: [3], c: [2, 1] } },
  'Sum of one': { nodes: [op('Sum', 'a -> y')], inputs: { a: [2, 3] } },
  'Pow by both': { nodes: [op('Pow', 'x p -> y')], inputs: { x: positive('x', [2, 3]), p: [3] } },
  'Pow by 2': {
    nodes: [op('Pow', 'x two -> y')],
    inputs: { x: [2, 3] },
    constants: [floatTensor('two', [], Float32Array.of(2))],
  },
  'Pow by an integer': {
    nodes: [op('Pow', 'x three -> y')],
    inputs: { x: [2, 3] },
    constants: [int64Tensor('three', [1], [3])],
  },
  'Pow by several integers': {
    nodes: [op('Pow', 'x p -> y')],
    inputs: { x: positive('x', [2, 3]) },
    constants: [int64Tensor('p', [3], [1, 3, -2])],
  },
  'Pow by 0, at 0': {
    nodes: [op('Pow', 'x p -> y'), op('Add', 'y x -> z')],
    inputs: { x: floatTensor('x', [3], Float32Array.of(0, 1, -1)) },
    constants: [floatTensor('p', [], Float32Array.of(0))],
  },
  'Pow by 0 among others, at 0': {
    nodes: [op('Pow', 'x p -> y')],
    inputs: { x: floatTensor('x', [2], Float32Array.of(0, 2)) },
    constants: [floatTensor('p', [2], Float32Array.of(0, 3))],
  },
  'Where by both': {
    nodes: [op('Greater', 'c zero -> condition'), op('Where', 'condition a b -> y')],
    inputs: { c: [2, 3], a: [3], b: [2, 1] },
    by: ['a', 'b'],
    constants: [floatTensor('zero', [], Float32Array.of(0))],
  },
  'Dropout at inference': { nodes: [op('Dropout', 'x -> y')], inputs: { x: [2, 3] } },
}

describe('elementwise operators', () => {
  it.each(Object.entries(more))('%s', async (_, given) => {
    await expectGradients(given)
  })

  it('shares the gradient of a maximum among those that reach it', async () => {
    const { a, b } = await expectGradients({
      nodes: [op('Max', 'a b -> y')],
      inputs: { a: floatTensor('a', [1], Float32Array.of(1)), b: floatTensor('b', [1], Float32Array.of(1)) },
    })
    expect(a?.data).toEqual(b?.data)
  })
})
