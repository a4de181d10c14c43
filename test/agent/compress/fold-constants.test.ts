import {
  floatTensor,
  floatValue,
  int64Tensor,
  intsValue,
  intValue,
  type Node,
  type Tensor,
  tensorValue,
} from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import { foldConstants } from '../../../agent/compress/fold-constants.ts'
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

describe('folding constants', () => {
  it.each(Object.entries(CONSTANTS))('makes an initializer of %s', async (_, [nodes, constants, opset = 17]) => {
    const model = modelOf({
      opset,
      inputs: { x: [1] },
      outputs: ['y'],
      nodes: [...nodes, op('Add', 'x c -> y')],
      constants,
    })
    const feeds = { x: float32([1], randomValues(1, 3)) }

    const folded = foldConstants(model)

    expect(operatorCounts(folded)).toEqual({ Add: 1 })
    expect(folded.graph.initializers.size).toBe(1)
    expect(await run(folded, feeds)).toEqual(await run(model, feeds))
  })

  it('takes out what hands values on unchanged', async () => {
    const model = modelOf({
      inputs: { x: [3] },
      outputs: ['y', 'z'],
      nodes: [
        op('Identity', 'x -> a'),
        op('Relu', 'a -> b'),
        op('Dropout', 'b ratio off -> c'),
        op('Neg', 'c -> d'),
        op('Identity', 'd -> y'),
        op('Abs', 'c -> z'),
      ],
      constants: [
        floatTensor('ratio', [], Float32Array.of(0.5)),
        { name: 'off', dataType: 'BOOL', dims: [], data: Uint8Array.of(0) },
      ],
    })
    const folded = foldConstants(model)
    expect(operatorCounts(folded)).toEqual({ Relu: 1, Neg: 1, Abs: 1 })
    expect(folded.graph.initializers.size).toBe(0)
    const feeds = { x: float32([3], Float32Array.of(1, -2, 3)) }
    expect(await run(folded, feeds)).toEqual(await run(model, feeds))
  })

  it('leaves what is an output, trains, or depends on an input', () => {
    const model = modelOf({
      inputs: { x: [3] },
      outputs: ['one', 'same', 'y', 'z'],
      nodes: [
        op('Constant', '_ -> one', { value_float: floatValue(1) }),
        op('Identity', 'x -> same'),
        op('Dropout', 'x ratio on -> y'),
        op('Shape', 'x -> s'),
        op('ConstantOfShape', 's -> z'),
      ],
      constants: [
        floatTensor('ratio', [], Float32Array.of(0.5)),
        { name: 'on', dataType: 'BOOL', dims: [], data: Uint8Array.of(1) },
      ],
    })
    expect(foldConstants(model)).toBe(model)
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

    const folded = foldConstants(declared)

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
    expect(foldConstants(model)).toBe(model)
  })
})
