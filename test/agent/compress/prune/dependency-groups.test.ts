import { graphValue, int64Tensor, intsValue, intValue, type Model, node } from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import { dependencyGroups } from '../../../../agent/compress/prune/dependency-groups.ts'
import { type ModelParts, modelOf, op, randomTensor } from '../support/graphs.ts'

const DIMS = [1, 3, 4, 4]
const w = (name: string, ...dims: number[]) => randomTensor(name, dims, 1)
const SAME = { pads: intsValue([1, 1, 1, 1]) }

function network(parts: Partial<ModelParts>): Model {
  return modelOf({ inputs: { x: DIMS }, outputs: ['y'], nodes: [], ...parts })
}

/** Groups as `value: count [tensor:axis, …]`, frozen ones as `value: reason`. */
function seen(model: Model) {
  const { groups, frozen } = dependencyGroups(model)
  return {
    groups: Object.fromEntries(
      groups.map(({ value, channels, members }) => [
        value,
        `${channels.length}: ${members
          .map(({ tensor, axis }) => `${tensor}.${axis}`)
          .sort()
          .join(' ')}`,
      ]),
    ),
    frozen: Object.fromEntries(frozen.map(({ value, reason }) => [value, reason])),
  }
}

describe('what goes together', () => {
  it('a layer, its normalization, slopes and constants, and the axis that reads it', () => {
    const nodes = [
      op('Conv', 'x w1 b1 -> a'),
      op('BatchNormalization', 'a gamma beta mean variance -> b'),
      op('PRelu', 'b slope -> c'),
      op('Mul', 'scale c -> d'),
      op('Conv', 'd w2 -> y'),
    ]
    const constants = [
      w('w1', 8, 3, 1, 1),
      ...['b1', 'gamma', 'beta', 'mean', 'variance'].map((name) => w(name, 8)),
      w('slope', 8, 1, 1),
      w('scale', 1, 8, 1, 1),
      w('w2', 2, 8, 1, 1),
    ]
    expect(seen(network({ nodes, constants }))).toEqual({
      groups: { a: '8: b1.0 beta.0 gamma.0 mean.0 scale.1 slope.0 variance.0 w1.0 w2.1' },
      frozen: { y: 'they are an output of the model' },
    })
  })

  it('both sides of a residual, through a depthwise convolution and a gate', () => {
    const nodes = [
      op('Conv', 'x w1 -> a'),
      op('Conv', 'a dw -> b', { ...SAME, group: intValue(8) }),
      op('GlobalAveragePool', 'b -> g'),
      op('Conv', 'g squeeze -> h'),
      op('Conv', 'h excite -> i'),
      op('Sigmoid', 'i -> j'),
      op('Mul', 'b j -> k'),
      op('Conv', 'x w2 -> l'),
      op('Add', 'k l -> m'),
      op('Conv', 'm w3 -> y'),
    ]
    const constants = [
      w('w1', 8, 3, 1, 1),
      w('dw', 8, 1, 3, 3),
      w('squeeze', 2, 8, 1, 1),
      w('excite', 8, 2, 1, 1),
      w('w2', 8, 3, 1, 1),
      w('w3', 2, 8, 1, 1),
    ]
    expect(seen(network({ nodes, constants })).groups).toEqual({
      a: '8: dw.0 excite.0 squeeze.1 w1.0 w2.0 w3.1',
      h: '2: excite.1 squeeze.0',
    })
  })

  it('parts of a concatenation each by themselves, at their place in what reads them', () => {
    const nodes = [
      op('Conv', 'x w1 -> a'),
      op('Conv', 'x w2 -> b'),
      op('Concat', 'a x b -> c', { axis: intValue(1) }),
      op('Conv', 'c w3 -> y'),
    ]
    const constants = [w('w1', 4, 3, 1, 1), w('w2', 5, 3, 1, 1), w('w3', 2, 12, 1, 1)]
    const { groups } = dependencyGroups(network({ nodes, constants }))
    expect(groups.map(({ value }) => value)).toEqual(['a', 'b'])
    const reader = groups[1]?.members.find(({ tensor }) => tensor === 'w3')
    expect(reader?.positions).toEqual([[7], [8], [9], [10], [11]])
  })

  it('the rows of a matrix that a flattened channel becomes', () => {
    const nodes = [op('Conv', 'x w1 -> a'), op('Flatten', 'a -> b'), op('Gemm', 'b w2 -> y')]
    const { groups } = dependencyGroups(network({ nodes, constants: [w('w1', 2, 3, 1, 1), w('w2', 32, 2)] }))
    const rows = groups[0]?.members.find(({ tensor }) => tensor === 'w2')?.positions
    expect(rows?.[1]).toEqual(Array.from({ length: 16 }, (_, at) => 16 + at))
  })

  it('the same place in every group of a convolution, also after a shuffle', () => {
    const nodes = [
      op('Conv', 'x w1 -> a'),
      op('Conv', 'a w2 -> b', { group: intValue(2) }),
      op('Reshape', 'b split -> c'),
      op('Transpose', 'c -> d', { perm: intsValue([0, 2, 1, 3, 4]) }),
      op('Reshape', 'd merge -> e'),
      op('Conv', 'e w3 -> y'),
    ]
    const constants = [
      w('w1', 6, 3, 1, 1),
      w('w2', 8, 3, 1, 1),
      int64Tensor('split', [5], [1, 2, 4, 4, 4]),
      int64Tensor('merge', [4], [1, 8, 4, 4]),
      w('w3', 2, 8, 1, 1),
    ]
    const { groups } = dependencyGroups(network({ nodes, constants }))
    expect(groups.map(({ value, channels }) => [value, channels.map(({ positions }) => positions)])).toEqual([
      [
        'a',
        [
          [0, 3],
          [1, 4],
          [2, 5],
        ],
      ],
      [
        'b',
        [
          [0, 4],
          [1, 5],
          [2, 6],
          [3, 7],
        ],
      ],
    ])
    expect(groups[1]?.members.find(({ tensor }) => tensor === 'w3')?.positions[1]).toEqual([2, 3])
  })

  it('layers that share weights', () => {
    const nodes = [
      op('Conv', 'x w1 -> a'),
      op('Conv', 'a shared -> b'),
      op('Conv', 'b shared -> c'),
      op('Conv', 'c w2 -> y'),
    ]
    const constants = [w('w1', 4, 3, 1, 1), w('shared', 4, 4, 1, 1), w('w2', 2, 4, 1, 1)]
    expect(seen(network({ nodes, constants })).groups).toEqual({ a: '4: shared.0 shared.1 w1.0 w2.1' })
  })
})

describe('what stays, by name and reason', () => {
  const conv = op('Conv', 'x w1 -> a')
  const reader = op('Conv', 'b w2 -> y')
  const constants = [w('w1', 4, 3, 1, 1), w('w2', 2, 4, 1, 1), w('w3', 2, 4, 1, 1)]

  it.each([
    [
      'an operator without a rule',
      [conv, op('LRN', 'a -> b', { size: intValue(3) }), reader],
      'LRN: no rule says what it does to them',
    ],
    [
      'a sum with an input',
      [conv, op('Concat', 'x zero -> z', { axis: intValue(1) }), op('Add', 'a z -> b'), reader],
      'Add: they meet an axis that cannot lose channels',
    ],
    [
      'softmax over channels',
      [conv, op('Softmax', 'a -> b', { axis: intValue(1) }), reader],
      'Softmax: it weighs channels against each other',
    ],
    [
      'a mean over channels',
      [conv, op('ReduceMean', 'a -> m', { axes: intsValue([1]) }), op('Mul', 'a m -> b'), reader],
      'ReduceMean: it reduces over channels',
    ],
    [
      'padding of channels',
      [conv, op('Pad', 'a pads -> p'), op('Identity', 'a -> b'), reader],
      'Pad: it pads channels',
    ],
    [
      'a pool along channels',
      [
        conv,
        op('Transpose', 'a -> t', { perm: intsValue([0, 2, 1, 3]) }),
        op('MaxPool', 't -> u', { kernel_shape: intsValue([1, 1]) }),
        op('Transpose', 'u -> b', { perm: intsValue([0, 2, 1, 3]) }),
        reader,
      ],
      'MaxPool: it works along them',
    ],
    [
      'a convolution along channels',
      [
        conv,
        op('Transpose', 'a -> t', { perm: intsValue([0, 2, 1, 3]) }),
        op('Conv', 't w2 -> u'),
        op('Transpose', 'u -> b', { perm: intsValue([0, 2, 1, 3]) }),
        op('Conv', 'b w3 -> y'),
      ],
      'Conv: it works along them',
    ],
    [
      'weights that are made',
      [conv, op('Relu', 'w2 -> made'), op('Identity', 'a -> b'), op('Conv', 'b made -> y')],
      'Conv: its weights are not constants; prune before quantizing',
    ],
    [
      'a shape that is read',
      [conv, op('Shape', 'a -> s'), op('Reshape', 'a s -> b'), reader],
      'Shape: no rule says what it does to them',
    ],
  ])('%s', (_, nodes, reason) => {
    const zero = w('zero', 1, 1, 4, 4)
    const pads = int64Tensor('pads', [8], [0, 1, 0, 0, 0, 0, 0, 0])
    const outputs = ['y', ...nodes.flatMap(({ outputs: own }) => own).filter((name) => name === 'p')]
    const model = network({ nodes, outputs, constants: [...constants, zero, pads] })
    expect(seen(model).frozen['a']).toBe(reason)
    expect(seen(model).groups).toEqual({})
  })

  it('what a branch reads', () => {
    const branch = (name: string) =>
      graphValue({
        name,
        nodes: [node({ opType: 'Relu', inputs: ['a'], outputs: [name] })],
        initializers: new Map(),
        inputs: [],
        outputs: [{ name, type: { kind: 'tensor', dataType: 'FLOAT' } }],
        valueInfo: new Map(),
      })
    const choice = node({
      opType: 'If',
      inputs: ['yes'],
      outputs: ['b'],
      attributes: { then_branch: branch('t'), else_branch: branch('e') },
    })
    const yes = { name: 'yes', dataType: 'BOOL' as const, dims: [], data: Uint8Array.of(1) }
    const model = network({ nodes: [conv, choice, reader], constants: [...constants, yes] })
    expect(seen(model).frozen['a']).toBe('a branch reads them')
  })
})
