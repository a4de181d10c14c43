import { EdgefitError } from '@edgefit/shared'
import { asFloat32, floatTensor, floatValue, intsValue, intValue, type Model } from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import { foldBatchNorm } from '../../../../agent/compress/fold-batch-norm.ts'
import { equalize } from '../../../../agent/compress/repair/equalize.ts'
import { modelOf, op, randomTensor, randomValues } from '../support/graphs.ts'
import {
  batchOf,
  breastCancer,
  breastCancerModel,
  demoModel,
  hasSharedModels,
  keywords,
  pneumonia,
  sharedModel,
} from '../support/real-models.ts'
import { float32, operatorCounts, relativeError, run } from '../support/runtime.ts'

const PAD = { pads: intsValue([1, 1, 1, 1]) }

/** Output channels of very different size. */
function uneven(name: string, dims: readonly number[], seed: number) {
  const tensor = randomTensor(name, dims, seed)
  const perChannel = tensor.data.length / 4 / (dims[0] ?? 1)
  const values = asFloat32(tensor).map((value, index) => value * 10 ** ((Math.floor(index / perChannel) % 5) - 2))
  return floatTensor(name, dims, values)
}

function separable(activation = 'Relu'): Model {
  const clip = activation === 'Clip' ? ' zero six' : activation === 'PRelu' ? ' slope' : ''
  return modelOf({
    inputs: { x: [2, 3, 9, 9] },
    outputs: ['y'],
    nodes: [
      op('Conv', 'x w1 b1 -> a', PAD),
      op(activation, `a${clip} -> b`),
      op('Conv', 'b w2 b2 -> c', { ...PAD, group: intValue(8) }),
      op(activation, `c${clip} -> d`),
      op('Conv', 'd w3 -> e'),
      op('MaxPool', 'e -> f', { kernel_shape: intsValue([3, 3]), strides: intsValue([3, 3]) }),
      op('Flatten', 'f -> g'),
      op('Gemm', 'g w4 b4 -> h', { transB: intValue(1) }),
      op('LeakyRelu', 'h -> i', { alpha: floatValue(0.1) }),
      op('MatMul', 'i w5 -> j'),
      op('Add', 'b5 j -> k'),
      op('Relu', 'k -> l'),
      op('MatMul', 'l w6 -> y'),
    ],
    constants: [
      uneven('w1', [8, 3, 3, 3], 1),
      uneven('b1', [8], 2),
      uneven('w2', [8, 1, 3, 3], 3),
      uneven('b2', [8], 4),
      uneven('w3', [5, 8, 1, 1], 5),
      uneven('w4', [7, 45], 6),
      uneven('b4', [7], 7),
      uneven('w5', [7, 6], 8),
      uneven('b5', [6], 9),
      uneven('w6', [6, 4], 10),
      randomTensor('slope', [8, 1, 1], 11, 0.3),
      floatTensor('zero', [], Float32Array.of(0)),
      floatTensor('six', [], Float32Array.of(6)),
    ],
  })
}

const feeds = { x: float32([2, 3, 9, 9], randomValues(2 * 3 * 81, 1)) }

async function difference(before: Model, after: Model, given: Parameters<typeof run>[1] = feeds): Promise<number> {
  const [expected, actual] = [await run(before, given, 'disabled'), await run(after, given, 'disabled')]
  return Math.max(...Object.keys(expected).map((name) => relativeError(expected[name], actual[name])))
}

/** Largest weight of each channel along an axis of the constant that a node reads. */
function rangesOf(model: Model, output: string, axis: 0 | 1): number[] {
  const node = model.graph.nodes.find(({ outputs }) => outputs[0] === output)
  const tensor = model.graph.initializers.get(node?.inputs[1] ?? '')
  if (tensor === undefined) throw new RangeError(output)
  const [, inner = 1, ...kernel] = tensor.dims
  const size = kernel.reduce((a, b) => a * b, 1)
  const found = Array<number>(tensor.dims[axis] ?? 1).fill(0)
  for (const [index, value] of asFloat32(tensor).entries()) {
    const channel = axis === 0 ? Math.floor(index / (inner * size)) : Math.floor(index / size) % inner
    found[channel] = Math.max(found[channel] ?? 0, Math.abs(value))
  }
  return found
}

describe('equalization', () => {
  it.each(['Relu', 'PRelu'])('keeps the outputs and gives three layers around %s one range a channel', async (type) => {
    const model = separable(type)
    const { model: equalized, notes } = equalize(model, { clips: 'keep' })

    expect(await difference(model, equalized)).toBeLessThan(1e-5)
    const first = rangesOf(equalized, 'a', 0)
    const middle = rangesOf(equalized, 'c', 0)
    const last = rangesOf(equalized, 'e', 1)
    for (const [channel, range] of first.entries()) {
      expect((middle[channel] ?? 0) / range).toBeCloseTo(1, 2)
      expect((last[channel] ?? 0) / range).toBeCloseTo(1, 2)
    }
    const spread = (ranges: number[]) => Math.max(...ranges) / Math.min(...ranges)
    expect(spread(first)).toBeLessThan(spread(rangesOf(model, 'a', 0)) / 2)
    expect(notes).toEqual(['5 pairs of layers equalized'])
  })

  it('does by hand what the formula says', () => {
    const model = modelOf({
      inputs: { x: [1, 2] },
      outputs: ['y'],
      nodes: [op('Gemm', 'x w b -> a'), op('Relu', 'a -> r'), op('Gemm', 'r v -> y')],
      constants: [
        floatTensor('w', [2, 2], Float32Array.of(8, 0, -1, 0)),
        floatTensor('b', [2], Float32Array.of(4, 1)),
        floatTensor('v', [2, 1], Float32Array.of(0.5, 3)),
      ],
    })
    // s = √(8 / 0.5) = 4 for the first channel; the second has no weights on one side.
    const { graph } = equalize(model, { clips: 'keep' }).model
    const values = [...graph.initializers.values()].map((tensor) => [...asFloat32(tensor)])
    expect(values).toEqual([
      [2, 0, -0.25, 0],
      [1, 1],
      [2, 3],
    ])
  })

  it('stops at a Clip from both sides, unless it may be made a Relu', async () => {
    const model = separable('Clip')
    const kept = equalize(model, { clips: 'keep' })
    expect(await difference(model, kept.model)).toBeLessThan(1e-5)
    expect(rangesOf(kept.model, 'a', 0)).toEqual(rangesOf(model, 'a', 0))
    expect(kept.notes).toEqual([
      '3 pairs of layers equalized',
      'Clip "Clip:b", "Clip:d": not equalized across, its bound holds for all channels alike',
    ])

    const replaced = equalize(model, { clips: 'replace' })
    expect(operatorCounts(replaced.model)).not.toHaveProperty('Clip')
    expect(await difference(separable('Relu'), replaced.model)).toBeLessThan(1e-5)
  })

  it.each([
    ['others read the value between', { outputs: ['y', 'b'], second: 'b w2 b2 -> y' }],
    ['a sigmoid lies between', { outputs: ['y'], second: 's w2 b2 -> y' }],
  ])('leaves layers alone where %s', (_, { outputs, second }) => {
    const model = modelOf({
      inputs: { x: [2, 3, 9, 9] },
      outputs,
      nodes: [op('Conv', 'x w1 b1 -> a'), op('Relu', 'a -> b'), op('Sigmoid', 'b -> s'), op('Conv', second)],
      constants: [...separable().graph.initializers.values()]
        .slice(0, 2)
        .concat([randomTensor('w2', [2, 8, 1, 1], 1), randomTensor('b2', [2], 2)]),
    })
    const result = equalize(model, { clips: 'replace' })
    expect(result.model).toBe(model)
    expect(result.notes).toEqual(['no two layers to equalize'])
  })

  it('does not touch weights that others share', async () => {
    const model = modelOf({
      inputs: { x: [1, 4] },
      outputs: ['y', 'z'],
      nodes: [op('Gemm', 'x w b -> a'), op('Gemm', 'a w b -> y'), op('Gemm', 'x w b -> z')],
      constants: [uneven('w', [4, 4], 1), uneven('b', [4], 2)],
    })
    const { model: equalized } = equalize(model, { clips: 'keep' })
    expect(equalized).not.toBe(model)
    expect(await difference(model, equalized, { x: float32([1, 4], randomValues(4, 1)) })).toBeLessThan(1e-5)
  })

  it('refuses weights that are not finite', () => {
    const model = separable()
    const bad = asFloat32(uneven('w1', [8, 3, 3, 3], 1)).with(5, Number.NaN)
    const initializers = new Map(model.graph.initializers).set('w1', floatTensor('w1', [8, 3, 3, 3], bad))
    expect(() => equalize({ ...model, graph: { ...model.graph, initializers } }, { clips: 'keep' })).toThrow(
      EdgefitError,
    )
  })
})

describe('equalization of real models keeps their outputs', () => {
  const noise = () => ({ input: float32([4, 1, 28, 28], randomValues(4 * 784, 1, 2)) })

  it.each([
    ['MobileNetV2', () => demoModel('fashion-mobilenetv2'), noise],
    ['ResNet-14', () => demoModel('fashion-resnet14'), noise],
    ['an MLP', breastCancerModel, () => batchOf(breastCancer('test'), 0, 20)],
  ] as const)('%s', async (_, source, given) => {
    const model = foldBatchNorm(source()).model
    const { model: equalized } = equalize(model, { clips: 'keep' })
    expect(equalized).not.toBe(model)
    expect(await difference(model, equalized, given())).toBeLessThan(1e-5)
  })

  it.skipIf(!hasSharedModels).each([
    ['DS-CNN', 'mlperf_kws_dscnn', keywords],
    ['a small CNN', 'pneumonia_mnist', () => pneumonia('test')],
  ] as const)('%s', async (_, name, samples) => {
    const model = sharedModel(`${name}/model.onnx`)
    const { model: equalized } = equalize(model, { clips: 'keep' })
    expect(await difference(model, equalized, batchOf(samples(), 0, 20))).toBeLessThan(1e-4)
  })
})
