import { expect, it } from 'vitest'
import { type Graph, graphValue, indexGraph, node, tensorValue, topologicalOrder } from '../../../shared/onnx/index.ts'
import { add, branchOf, relu, smallModel, weight } from './small-model.ts'

const constant = node({
  opType: 'Constant',
  inputs: [],
  outputs: ['k'],
  attributes: { value: tensorValue(weight('', 1, 2, 3)) },
})
const choice = node({
  opType: 'If',
  inputs: ['c'],
  outputs: ['y'],
  attributes: { then_branch: graphValue(branchOf('a', 't')), else_branch: graphValue(branchOf('k', 'e')) },
})

function graph(): Graph {
  return smallModel([constant, add('x', 'x', 'a'), add('a', 'w', 'b'), choice], ['y'], [weight('w', 1, 2, 3)]).graph
}

it('indexGraph tells producers and every use, captures included', () => {
  const index = indexGraph(graph())

  expect(index.producer('a')?.opType).toBe('Add')
  expect(index.producer('x')).toBeUndefined()
  expect(index.consumers('x').map(({ input }) => input)).toEqual([0, 1])
  expect(index.consumers('a').map(({ node: by, input }) => [by.opType, input])).toEqual([
    ['Add', 0],
    ['If', undefined],
  ])
  expect(index.consumers('b')).toEqual([])
})

it('indexGraph tells inputs, outputs, constants and shapes', () => {
  const index = indexGraph(graph())

  expect([index.isGraphInput('x'), index.isGraphInput('y'), index.isGraphOutput('y')]).toEqual([true, false, true])
  expect(index.initializer('w')?.dims).toEqual([3])
  expect(index.initializer('k')).toBeUndefined()
  expect(index.constant('k')?.dims).toEqual([3])
  expect(index.constant('a')).toBeUndefined()
  expect([index.shapeOf('x'), index.shapeOf('k'), index.shapeOf('a')]).toEqual([['batch', 3], [3], undefined])
})

it('topologicalOrder returns a sorted list as it is and moves only what it must', () => {
  const [a, b, c] = [relu('x', 'a'), relu('a', 'b'), relu('b', 'c')] as const

  const sorted = [a, b, c]
  expect(topologicalOrder(sorted)).toBe(sorted)
  expect(topologicalOrder([c, a, b])).toEqual([a, b, c])
  expect(topologicalOrder([choice, relu('x', 'z'), relu('x', 'a')]).map((entry) => entry.outputs[0])).toEqual([
    'a',
    'y',
    'z',
  ])
})

it('topologicalOrder names the nodes of a circle and only those', () => {
  const nodes = [relu('x', 'start'), add('start', 'c', 'a'), relu('a', 'b'), relu('b', 'c'), relu('c', 'y')]

  expect(() => topologicalOrder(nodes)).toThrow(
    expect.objectContaining({ code: 'MODEL_INVALID', message: expect.not.stringMatching(/"start"|"y"/) as string }),
  )
  expect(() => topologicalOrder(nodes)).toThrow(/"a".*"b"|"b".*"c"|"c".*"a"/)
})

it('topologicalOrder takes a chain deeper than any call stack', () => {
  const length = 50_000
  const nodes = Array.from({ length }, (_, position) => relu(`v${position}`, `v${position + 1}`)).reverse()

  expect(topologicalOrder(nodes)[0]?.inputs).toEqual(['v0'])
})
