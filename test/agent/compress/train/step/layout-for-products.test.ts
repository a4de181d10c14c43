import {
  encodeModel,
  floatTensor,
  inferShapes,
  intsValue,
  intValue,
  type Model,
  type Node,
  operatorHistogram,
  type Tensor,
} from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import { layOutForProducts } from '../../../../../agent/compress/train/step/layout-for-products.ts'
import { modelOf, op, randomTensor, randomValues } from '../../support/graphs.ts'
import { openSession } from '../../support/runtime.ts'

const X = [3, 8, 5, 4]
const pads = intsValue([1, 1, 1, 1])

interface Case {
  readonly name: string
  readonly nodes: readonly Node[]
  readonly constants: readonly Tensor[]
  readonly x?: readonly number[]
  /** Values that the rewritten model still has to give. */
  readonly outputs?: readonly string[]
}

const pointwise = [randomTensor('w', [6, 8, 1, 1], 1), randomTensor('b', [6], 2)]
const depthwise = [randomTensor('d', [6, 1, 3, 3], 3), randomTensor('e', [6], 4)]
const toDepthwise = (attributes = {}) => op('Conv', 'a d e -> y', { group: intValue(6), pads, ...attributes })

const cases: readonly Case[] = [
  { name: 'a pointwise convolution', nodes: [op('Conv', 'x w b -> y')], constants: pointwise },
  { name: 'one without a bias', nodes: [op('Conv', 'x w -> y')], constants: pointwise.slice(0, 1) },
  {
    name: 'one over a single axis',
    nodes: [op('Conv', 'x w b -> y')],
    constants: [randomTensor('w', [6, 8, 1], 1), randomTensor('b', [6], 2)],
    x: [3, 8, 7],
  },
  {
    name: 'a depthwise one behind it',
    nodes: [op('Conv', 'x w b -> a'), toDepthwise()],
    constants: [...pointwise, ...depthwise],
  },
  {
    name: 'a depthwise one with strides and uneven padding',
    nodes: [op('Conv', 'x w b -> a'), toDepthwise({ strides: intsValue([2, 1]), pads: intsValue([0, 2, 1, 1]) })],
    constants: [...pointwise, ...depthwise],
  },
  {
    name: 'activations and a sum between',
    nodes: [
      op('Conv', 'x w b -> a'),
      op('Relu', 'a -> r'),
      op('Clip', 'a low high -> c'),
      op('Add', 'r c -> s'),
      op('GlobalAveragePool', 's -> y'),
    ],
    constants: [
      ...pointwise,
      floatTensor('low', [], Float32Array.of(-0.2)),
      floatTensor('high', [], Float32Array.of(0.2)),
    ],
    outputs: ['y', 'r', 's'],
  },
  {
    name: 'batch normalization between',
    nodes: [op('Conv', 'x w b -> a'), op('BatchNormalization', 'a g h m v -> n'), op('Relu', 'n -> y')],
    constants: [
      ...pointwise,
      ...['g', 'h', 'm'].map((name, at) => randomTensor(name, [6], 6 + at)),
      floatTensor('v', [6], Float32Array.of(0.1, 0.2, 0.5, 1, 2, 3)),
    ],
  },
  {
    name: 'a sum with a value in the other layout',
    nodes: [op('Conv', 'x w b -> a'), op('Relu', 'x -> r'), op('Add', 'r a -> y')],
    constants: [randomTensor('w', [8, 8, 1, 1], 1), randomTensor('b', [8], 2)],
  },
  {
    name: 'dense convolutions between others',
    nodes: [
      op('Conv', 'x w b -> a', { pads }),
      op('Relu', 'a -> r'),
      op('Conv', 'r p -> c'),
      op('Conv', 'r d e -> k', { group: intValue(32), pads }),
      op('Conv', 'a s -> h', { pads }),
      op('BatchNormalization', 'h g f m v -> n'),
      op('Add', 'n k -> q'),
      op('Mul', 'c q -> y'),
      op('GlobalAveragePool', 'h -> z'),
    ],
    constants: [
      randomTensor('w', [32, 16, 3, 3], 1, 0.1),
      randomTensor('b', [32], 2),
      randomTensor('p', [32, 32, 1, 1], 3, 0.2),
      randomTensor('d', [32, 1, 3, 3], 4),
      randomTensor('e', [32], 5),
      randomTensor('s', [32, 32, 3, 3], 6, 0.1),
      ...['g', 'f', 'm'].map((name, at) => randomTensor(name, [32], 7 + at)),
      floatTensor(
        'v',
        [32],
        Float32Array.from({ length: 32 }, (_, at) => 0.5 + at / 16),
      ),
    ],
    x: [4, 16, 8, 8],
    outputs: ['y', 'z', 'r', 'q'],
  },
  {
    name: 'a factor that broadcasts',
    nodes: [op('Conv', 'x w b -> a'), op('Mul', 'a f -> y')],
    constants: [...pointwise, randomTensor('f', [6, 1, 1], 5)],
  },
]

describe('values laid out for products', () => {
  it.each(cases)('give the same for $name', async ({ nodes, constants, x = X, outputs = ['y'] }) => {
    const model = inferShapes(modelOf({ inputs: { x }, outputs, nodes, constants }))

    const rewritten = layOutForProducts(model)

    expect(rewritten).not.toBe(model)
    const [before, after] = [await run(model, x), await run(rewritten, x)]
    for (const name of outputs) {
      expect(after[name]?.dims).toEqual(before[name]?.dims)
      expect(largestDifference(after[name]?.data, before[name]?.data)).toBeLessThan(1e-5)
    }
  })

  it('leave no convolution where all are pointwise or small and depthwise', () => {
    const nodes = [op('Conv', 'x w b -> a'), toDepthwise()]
    const model = inferShapes(
      modelOf({ inputs: { x: X }, outputs: ['y'], nodes, constants: [...pointwise, ...depthwise] }),
    )

    expect(operatorHistogram(layOutForProducts(model)).get('Conv')).toBeUndefined()
  })

  it('leave none where all are dense and have many channels', () => {
    const nodes = [op('Conv', 'x w -> a', { pads }), op('Conv', 'a v -> y', { pads, strides: intsValue([2, 2]) })]
    const constants = [randomTensor('w', [64, 64, 3, 3], 1), randomTensor('v', [128, 64, 3, 3], 2)]
    const model = inferShapes(modelOf({ inputs: { x: [32, 64, 14, 14] }, outputs: ['y'], nodes, constants }))

    expect(operatorHistogram(layOutForProducts(model)).get('Conv')).toBeUndefined()
  })

  it.each<[string, Record<string, unknown>, readonly number[]]>([
    ['is dense and small', { pads }, [6, 8, 3, 3]],
    ['has strides', { strides: intsValue([2, 2]) }, [6, 8, 1, 1]],
    ['has groups', { group: intValue(2) }, [6, 4, 1, 1]],
  ])('are not used where a convolution %s', (_, attributes, dims) => {
    const nodes = [op('Conv', 'x w -> y', attributes as Parameters<typeof op>[2])]
    const model = inferShapes(
      modelOf({ inputs: { x: X }, outputs: ['y'], nodes, constants: [randomTensor('w', dims, 1)] }),
    )

    expect(layOutForProducts(model)).toBe(model)
  })

  it('are not used for a depthwise convolution of a large picture', () => {
    const nodes = [op('Conv', 'x d -> y', { group: intValue(6), pads })]
    const model = inferShapes(
      modelOf({ inputs: { x: [2, 6, 9, 9] }, outputs: ['y'], nodes, constants: depthwise.slice(0, 1) }),
    )

    expect(layOutForProducts(model)).toBe(model)
  })
})

async function run(model: Model, x: readonly number[]) {
  const session = await openSession(encodeModel(model), { graphOptimization: 'disabled', threads: 1 })
  try {
    const count = x.reduce((product, dim) => product * dim, 1)
    return await session.run({ x: { type: 'float32', dims: x, data: randomValues(count, 9) } })
  } finally {
    await session.release()
  }
}

function largestDifference(left: ArrayLike<unknown> = [Number.NaN], right: ArrayLike<unknown> = []): number {
  return Math.max(...Array.from(left, (value, at) => Math.abs(Number(value) - Number(right[at]))))
}
