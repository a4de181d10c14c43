import {
  floatTensor,
  floatValue,
  int64Tensor,
  intsValue,
  intValue,
  type Node,
  operatorHistogram,
  type Tensor,
  tensorValue,
} from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import { foldConstants } from '../../../agent/compress/fold-constants.ts'
import { controlFlowFeeds, controlFlowModel } from './support/control-flow.ts'
import { modelOf, op, randomTensor, randomValues, valueInfo } from './support/graphs.ts'
import { float32, operatorCounts, run } from './support/runtime.ts'

const W = randomTensor('w', [2, 1, 6], 1)

/** Each makes `c`, which is added to x. */
const CONSTANTS: Readonly<
  Record<string, readonly [nodes: readonly Node[], constants: readonly Tensor[], opset?: number]>
> = {
  'a Constant': [[op('Constant', '_ -> c', { value: tensorValue(W) })], []],
  'a Constant number': [[op('Constant', '_ -> c', { value_float: floatValue(1.5) })], []],
  'Constant numbers': [[op('Constant', '_ -> c', { value_floats: { kind: 'FLOATS', value: [1, 2, 3] } })], []],
  'a ConstantOfShape': [
    [op('ConstantOfShape', 's -> c', { value: tensorValue(floatTensor('', [1], Float32Array.of(2.5))) })],
    [int64Tensor('s', [2], [4, 3])],
  ],
  'a ConstantOfShape of zeros': [[op('ConstantOfShape', 's -> c')], [int64Tensor('s', [1], [3])]],
  'a Reshape that keeps one dim and infers another': [
    [op('Reshape', 'w s -> c')],
    [W, int64Tensor('s', [4], [0, -1, 2, 3])],
  ],
  'a Squeeze of one axis': [
    [op('Squeeze', 'w a -> q'), op('Reshape', 'q s -> c')],
    [W, int64Tensor('a', [1], [-2]), int64Tensor('s', [2], [4, 3])],
  ],
  'a Squeeze of all': [
    [op('Squeeze', 'w -> q'), op('Reshape', 'q s -> c')],
    [W, int64Tensor('s', [2], [4, 3])],
  ],
  'an Unsqueeze by attribute': [
    [op('Unsqueeze', 'v -> c', { axes: intsValue([0, 2]) })],
    [randomTensor('v', [3], 2)],
    11,
  ],
  'an Unsqueeze by input': [[op('Unsqueeze', 'v a -> c')], [randomTensor('v', [3], 2), int64Tensor('a', [2], [0, -1])]],
  'an Identity': [[op('Identity', 'v -> c')], [randomTensor('v', [3], 2)]],
  'one made from another': [
    [op('Constant', '_ -> s', { value_ints: { kind: 'INTS', value: [4n, 3n] } }), op('ConstantOfShape', 's -> c')],
    [],
  ],
}

const MORE: typeof CONSTANTS = {
  'a Transpose': [[op('Transpose', 'v -> c', { perm: intsValue([2, 0, 1]) })], [randomTensor('v', [2, 3, 4], 2)]],
  'a Transpose without an order': [[op('Transpose', 'v -> c')], [randomTensor('v', [2, 3, 4], 2)]],
  'a Concat': [
    [op('Concat', 'v u -> c', { axis: intValue(-1) })],
    [randomTensor('v', [2, 3], 2), randomTensor('u', [2, 1], 3)],
  ],
  'a Gather': [
    [op('Gather', 'v i -> c', { axis: intValue(1) })],
    [randomTensor('v', [2, 3], 2), int64Tensor('i', [2, 2], [0, -1, 2, 1])],
  ],
  'a Gather of one': [[op('Gather', 'v i -> c')], [randomTensor('v', [3], 2), int64Tensor('i', [], [-1])]],
  'an Expand': [[op('Expand', 'v s -> c')], [randomTensor('v', [3, 1], 2), int64Tensor('s', [3], [2, 1, 4])]],
  'an Expand to fewer axes': [[op('Expand', 'v s -> c')], [randomTensor('v', [3, 1], 2), int64Tensor('s', [1], [4])]],
  'Casts there and back': [
    [
      op('Cast', 'v -> i', { to: intValue(7) }),
      op('Cast', 'i -> b', { to: intValue(9) }),
      op('Cast', 'b -> c', { to: intValue(1) }),
    ],
    [floatTensor('v', [4], Float32Array.of(-1.9, 0.4, 2.6, 0))],
  ],
  arithmetic: [
    [
      op('Add', 'v u -> p'),
      op('Mul', 'p p -> q'),
      op('Sqrt', 'q -> r'),
      op('Sub', 'r u -> s'),
      op('Neg', 's -> t'),
      op('Abs', 't -> m'),
      op('Div', 'm v -> c'),
    ],
    [randomTensor('v', [2, 3], 2), randomTensor('u', [3], 3)],
  ],
  'whole numbers': [
    [op('Mul', 'i j -> p'), op('Div', 'p k -> q'), op('Cast', 'q -> c', { to: intValue(1) })],
    [int64Tensor('i', [2], [-7, 9]), int64Tensor('j', [1], [3]), int64Tensor('k', [], [4])],
  ],
}

describe('folding constants', () => {
  it.each(Object.entries({ ...CONSTANTS, ...MORE }))(
    'makes an initializer of %s',
    async (_, [nodes, constants, opset = 17]) => {
      const model = modelOf({
        opset,
        inputs: { x: [1] },
        outputs: ['y'],
        nodes: [...nodes, op('Add', 'x c -> y')],
        constants,
      })
      const feeds = { x: float32([1], randomValues(1, 3)) }

      const { model: folded } = foldConstants(model)

      expect(operatorCounts(folded)).toEqual({ Add: 1 })
      expect(folded.graph.initializers.size).toBe(1)
      expect(await run(folded, feeds)).toEqual(await run(model, feeds))
    },
  )

  it('computes shapes that are fixed', async () => {
    const nodes = [
      op('Shape', 'x -> s'),
      op('Gather', 's zero -> n'),
      op('Unsqueeze', 'n zeros -> u'),
      op('Concat', 'u rest -> t', { axis: intValue(0) }),
      op('Reshape', 'x t -> y'),
    ]
    const constants = [int64Tensor('zero', [], [0]), int64Tensor('zeros', [1], [0]), int64Tensor('rest', [1], [-1])]
    const fixed = modelOf({ inputs: { x: [2, 3, 4] }, outputs: ['y'], nodes, constants })
    const open = modelOf({ inputs: { x: ['n', 3, 4] }, outputs: ['y'], nodes, constants })

    const { model: folded } = foldConstants(fixed)

    expect(operatorCounts(folded)).toEqual({ Reshape: 1 })
    const feeds = { x: float32([2, 3, 4], randomValues(24, 3)) }
    expect(await run(folded, feeds)).toEqual(await run(fixed, feeds))
    expect(foldConstants(open).model).toBe(open)
  })

  it('reaches into branches', async () => {
    const model = controlFlowModel(17)
    const { model: folded } = foldConstants(model)
    for (const flag of [true, false]) {
      expect(await run(folded, controlFlowFeeds(flag))).toEqual(await run(model, controlFlowFeeds(flag)))
    }
    expect(operatorHistogram(model).get('Constant')).toBe(1)
    expect(operatorHistogram(folded).has('Constant')).toBe(false)
  })

  it('does not make the model much larger', () => {
    const model = modelOf({
      inputs: { x: [1] },
      outputs: ['y', 'z', 'w2'],
      nodes: [
        op('Expand', 'one large -> c'),
        op('ConstantOfShape', 'absurd -> d'),
        op('Transpose', 'w -> t'),
        op('Add', 'c x -> y'),
        op('MatMul', 'w t -> m'),
        op('Mul', 'column row -> table'),
        op('ReduceSum', 'table -> s'),
        op('Add', 's x -> w2'),
        op('ReduceSum', 'd -> e'),
        op('Add', 'm e -> z'),
      ],
      constants: [
        floatTensor('one', [1], Float32Array.of(1)),
        int64Tensor('large', [1], [1_000_000]),
        int64Tensor('absurd', [2], [2 ** 40, 2 ** 40]),
        randomTensor('w', [300, 300], 2),
        randomTensor('column', [200, 1], 3),
        randomTensor('row', [200], 4),
      ],
    })
    expect(foldConstants(model).model).toBe(model)
  })

  it('leaves what is an output or depends on an input', () => {
    const model = modelOf({
      inputs: { x: ['n'] },
      outputs: ['one', 'z'],
      nodes: [
        op('Constant', '_ -> one', { value_float: floatValue(1) }),
        op('Shape', 'x -> s'),
        op('ConstantOfShape', 's -> z'),
      ],
    })
    expect(foldConstants(model).model).toBe(model)
  })

  it('makes constants of initializers that are declared as inputs', () => {
    const model = modelOf({
      irVersion: 3,
      opset: 9,
      inputs: { x: [3] },
      outputs: ['y'],
      nodes: [op('Add', 'x c -> y')],
      constants: [randomTensor('c', [3], 1)],
    })
    const declared = { ...model, graph: { ...model.graph, inputs: [...model.graph.inputs, valueInfo('c', [3])] } }

    const { model: folded } = foldConstants(declared)

    expect(folded.graph.inputs.map(({ name }) => name)).toEqual(['x'])
    // Before, an initializer had to be an input.
    expect(folded.irVersion).toBe(4)
  })

  it('does not believe a shape that does not hold the values', () => {
    const model = modelOf({
      inputs: { x: [3] },
      outputs: ['y'],
      nodes: [op('Reshape', 'v s -> c', { allowzero: intValue(0) }), op('Add', 'x c -> y')],
      constants: [randomTensor('v', [3], 1), int64Tensor('s', [1], [4])],
    })
    expect(foldConstants(model).model).toBe(model)
  })
})
