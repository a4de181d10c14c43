import {
  floatTensor,
  graphValue,
  int64Tensor,
  intsValue,
  intValue,
  type Model,
  type Node,
  operatorHistogram,
  type Tensor,
} from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import { removeDeadBranches } from '../../../agent/compress/remove-dead-branches.ts'
import { removeDropout } from '../../../agent/compress/remove-dropout.ts'
import { removeIdentities } from '../../../agent/compress/remove-identities.ts'
import { controlFlowFeeds, controlFlowModel } from './support/control-flow.ts'
import { modelOf, op, randomTensor, randomValues, valueInfo } from './support/graphs.ts'
import { float32, operatorCounts, run } from './support/runtime.ts'

const DIMS = [2, 3, 4]
const FEEDS = { x: float32(DIMS, randomValues(24, 3)) }
const truth = (name: string, value: boolean): Tensor => ({
  name,
  dataType: 'BOOL',
  dims: [],
  data: Uint8Array.of(Number(value)),
})

function between(
  nodes: readonly Node[],
  constants: readonly Tensor[] = [],
  given: { opset?: number; dims?: (string | number)[] } = {},
): Model {
  return modelOf({
    inputs: { x: given.dims ?? DIMS },
    outputs: ['y'],
    nodes: [op('Relu', 'x -> a'), ...nodes, op('Neg', 'b -> y')],
    constants,
    ...(given.opset === undefined ? {} : { opset: given.opset }),
  })
}

describe('removing identities', () => {
  it.each<[string, Model]>([
    ['Identity', between([op('Identity', 'a -> b')])],
    ['Cast to the same type', between([op('Cast', 'a -> b', { to: intValue(1) })])],
    ['Reshape to the same shape', between([op('Reshape', 'a s -> b')], [int64Tensor('s', [3], [0, -1, 4])])],
    [
      'Reshape with one open length',
      between([op('Reshape', 'a s -> b')], [int64Tensor('s', [3], [0, 0, 4])], { dims: ['n', 3, 4] }),
    ],
    ['Transpose in order', between([op('Transpose', 'a -> b', { perm: intsValue([0, 1, 2]) })])],
    ['Pad by nothing', between([op('Pad', 'a p -> b')], [int64Tensor('p', [6], [0, 0, 0, 0, 0, 0])])],
    [
      'Pad by nothing, opset 9',
      between([op('Pad', 'a -> b', { pads: intsValue([0, 0, 0, 0, 0, 0]) })], [], { opset: 9 }),
    ],
    [
      'Slice of everything',
      between(
        [op('Slice', 'a from to at by -> b')],
        [
          int64Tensor('from', [2], [0, 0]),
          int64Tensor('to', [2], [3, 2 ** 40]),
          int64Tensor('at', [2], [1, -1]),
          int64Tensor('by', [2], [1, 1]),
        ],
      ),
    ],
    [
      'Slice of everything, opset 9',
      between([op('Slice', 'a -> b', { starts: intsValue([0]), ends: intsValue([2]) })], [], { opset: 9 }),
    ],
    ['Concat of one', between([op('Concat', 'a -> b', { axis: intValue(1) })])],
    ['Sum of one', between([op('Sum', 'a -> b')])],
    ['Expand to the same shape', between([op('Expand', 'a s -> b')], [int64Tensor('s', [2], [3, 4])])],
    ['Squeeze of no axis', between([op('Squeeze', 'a s -> b')], [int64Tensor('s', [0], [])])],
  ])('takes out a %s', async (_, model) => {
    const { model: without } = removeIdentities(model)
    expect(operatorCounts(without)).toEqual({ Relu: 1, Neg: 1 })
    expect(without.graph.initializers.size).toBe(0)
    expect(await run(without, FEEDS)).toEqual(await run(model, FEEDS))
  })

  it.each<[string, Model]>([
    [
      'Cast to another type',
      between([op('Cast', 'a -> i', { to: intValue(7) }), op('Cast', 'i -> b', { to: intValue(1) })]),
    ],
    ['Reshape that moves a length', between([op('Reshape', 'a s -> b')], [int64Tensor('s', [3], [3, 2, 4])])],
    [
      'Reshape whose lengths are open',
      between([op('Reshape', 'a s -> b')], [int64Tensor('s', [3], [-1, 3, 4])], { dims: ['n', 'm', 4] }),
    ],
    ['Transpose that turns', between([op('Transpose', 'a -> b', { perm: intsValue([1, 0, 2]) })])],
    ['Transpose without an order', between([op('Transpose', 'a -> b')])],
    ['Pad by something', between([op('Pad', 'a p -> b')], [int64Tensor('p', [6], [0, 0, 0, 0, 0, 1])])],
    [
      'Slice that cuts',
      between([op('Slice', 'a from to -> b')], [int64Tensor('from', [1], [0]), int64Tensor('to', [1], [1])]),
    ],
    [
      'Slice backwards',
      between(
        [op('Slice', 'a from to at by -> b')],
        [
          int64Tensor('from', [1], [-1]),
          int64Tensor('to', [1], [-(2 ** 40)]),
          int64Tensor('at', [1], [1]),
          int64Tensor('by', [1], [-1]),
        ],
      ),
    ],
    ['Concat of two', between([op('Concat', 'a a -> b', { axis: intValue(1) })])],
    ['Expand of an axis', between([op('Expand', 'a s -> b')], [int64Tensor('s', [4], [5, 2, 3, 4])])],
  ])('leaves a %s', (_, model) => {
    expect(removeIdentities(model).model).toBe(model)
  })

  it('keeps the names of outputs, and names what it has to leave', async () => {
    const model = modelOf({
      inputs: { x: DIMS },
      outputs: ['y', 'same'],
      nodes: [op('Relu', 'x -> a'), op('Identity', 'a -> y'), op('Identity', 'x -> same')],
    })
    const { model: without, notes } = removeIdentities(model)
    expect(operatorCounts(without)).toEqual({ Relu: 1, Identity: 1 })
    expect(notes).toEqual(['Identity "Identity:same": stays between a value from outside and an output'])
    expect(await run(without, FEEDS)).toEqual(await run(model, FEEDS))
  })

  it('reaches into branches, and leaves what only renames a value from outside them', async () => {
    const model = controlFlowModel(17)
    const { model: without } = removeIdentities(model)
    expect(operatorHistogram(model).get('Identity')).toBe(4)
    // In a loop, what hands the condition on.
    expect(operatorHistogram(without).get('Identity')).toBe(2)
    for (const flag of [true, false]) {
      expect(await run(without, controlFlowFeeds(flag), 'disabled')).toEqual(
        await run(model, controlFlowFeeds(flag), 'disabled'),
      )
    }
  })
})

describe('removing Dropout', () => {
  it.each<[string, Model]>([
    ['of opset 9', between([op('Dropout', 'a -> b')], [], { opset: 9 })],
    [
      'that does not train',
      between([op('Dropout', 'a r t -> b')], [floatTensor('r', [], Float32Array.of(0.5)), truth('t', false)]),
    ],
    ['that says nothing of training', between([op('Dropout', 'a -> b')])],
  ])('takes out one %s', async (_, model) => {
    const { model: without } = removeDropout(model)
    expect(operatorCounts(without)).toEqual({ Relu: 1, Neg: 1 })
    expect(without.graph.initializers.size).toBe(0)
    expect(await run(without, FEEDS)).toEqual(await run(model, FEEDS))
  })

  it('leaves one that trains or whose mask is read, and Identity', () => {
    const trains = between(
      [op('Dropout', 'a r t -> b')],
      [floatTensor('r', [], Float32Array.of(0.5)), truth('t', true)],
    )
    const masks = modelOf({
      inputs: { x: DIMS },
      outputs: ['y', 'm'],
      nodes: [op('Relu', 'x -> a'), op('Dropout', 'a -> y m')],
    })
    for (const model of [trains, masks, between([op('Identity', 'a -> b')])])
      expect(removeDropout(model).model).toBe(model)
    expect(removeDropout(masks).notes).toEqual([expect.stringContaining('stays')])
  })

  it('reaches into branches', async () => {
    const model = controlFlowModel(13)
    const { model: without } = removeDropout(model)
    expect(operatorHistogram(without).has('Dropout')).toBe(false)
    expect(await run(without, controlFlowFeeds(true))).toEqual(await run(model, controlFlowFeeds(true)))
  })
})

describe('removing dead branches', () => {
  it('takes out nodes that nothing needs and initializers that nothing reads', async () => {
    const model = modelOf({
      inputs: { x: DIMS },
      outputs: ['y'],
      nodes: [op('Relu', 'x -> y'), op('Add', 'x w -> d'), op('Neg', 'd -> e')],
      constants: [randomTensor('w', DIMS, 1), randomTensor('unread', [5], 2)],
    })
    const { model: without } = removeDeadBranches(model)
    expect(operatorCounts(without)).toEqual({ Relu: 1 })
    expect(without.graph.initializers.size).toBe(0)
    expect(await run(without, FEEDS)).toEqual(await run(model, FEEDS))
  })

  it('puts the branch that a constant condition takes in the place of the If', async () => {
    const model = controlFlowModel(17)
    const { model: without, notes } = removeDeadBranches(model)
    expect(operatorCounts(model)['If']).toBe(2)
    expect(operatorCounts(without)).toMatchObject({ If: 1, Relu: 1, Identity: 2 })
    expect(operatorHistogram(without).has('Tanh')).toBe(false)
    expect(notes).toEqual(['If "If:positive": the branch that its condition always takes stands in its place'])
    for (const flag of [true, false]) {
      expect(await run(without, controlFlowFeeds(flag))).toEqual(await run(model, controlFlowFeeds(flag)))
    }
  })

  it('follows one condition after the other, whatever the branches call their values', async () => {
    const branch = (nodes: readonly Node[], constants: readonly Tensor[] = []) =>
      graphValue({ ...modelOf({ inputs: {}, outputs: ['b'], nodes, constants }).graph })
    const inner = op('If', 'no -> b', {
      then_branch: branch([op('Tanh', 'x -> b')]),
      else_branch: branch([op('Add', 'x w -> a'), op('Mul', 'a w -> b')], [randomTensor('w', [4], 1)]),
    })
    const outer = (to: string): Node =>
      op('If', `yes -> ${to}`, {
        then_branch: branch([inner]),
        else_branch: branch([op('Sigmoid', 'x -> b')]),
      })
    const model = modelOf({
      inputs: { x: DIMS },
      outputs: ['y'],
      nodes: [outer('p'), outer('q'), op('Sub', 'p v -> r'), op('Add', 'r q -> y')],
      constants: [truth('yes', true), truth('no', false), randomTensor('v', [4], 2)],
    })
    const { model: without } = removeDeadBranches(model)
    expect(operatorCounts(without)).toEqual({ Add: 3, Mul: 2, Sub: 1, Identity: 4 })
    expect(operatorCounts(removeIdentities(without).model)).toEqual({ Add: 3, Mul: 2, Sub: 1 })
    expect(await run(without, FEEDS)).toEqual(await run(model, FEEDS))
  })

  it('does not trust a condition that callers may override', () => {
    const branch = graphValue({ ...modelOf({ inputs: {}, outputs: ['b'], nodes: [op('Relu', 'x -> b')] }).graph })
    const model = modelOf({
      inputs: { x: DIMS },
      outputs: ['y'],
      nodes: [op('If', 'c -> y', { then_branch: branch, else_branch: branch })],
      constants: [truth('c', true)],
    })
    const open = { ...model, graph: { ...model.graph, inputs: [...model.graph.inputs, valueInfo('c', [], 'BOOL')] } }
    expect(removeDeadBranches(open).model).toBe(open)
  })
})
