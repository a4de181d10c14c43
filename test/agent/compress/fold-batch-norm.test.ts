import {
  type Attribute,
  floatTensor,
  floatValue,
  int64Tensor,
  intsValue,
  intValue,
  type Model,
  tensorValue,
} from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import { foldBatchNorm } from '../../../agent/compress/fold-batch-norm.ts'
import { modelOf, op, randomTensor, randomValues, valueInfo } from './support/graphs.ts'
import { batchOf, demoModel, fashionMnist, hasSharedModels, sharedModel } from './support/real-models.ts'
import { float32, operatorCounts, relativeError, run } from './support/runtime.ts'

const CHANNELS = 6
const NORM = [
  randomTensor('gamma', [CHANNELS], 11, 2),
  randomTensor('beta', [CHANNELS], 12),
  randomTensor('mean', [CHANNELS], 13),
  floatTensor('variance', [CHANNELS], randomValues(CHANNELS, 14).map(Math.abs)),
]
const norm = (from: string, to: string, attributes: Readonly<Record<string, Attribute>> = {}) =>
  op('BatchNormalization', `${from} gamma beta mean variance -> ${to}`, { epsilon: floatValue(0.01), ...attributes })

async function differenceAfterFolding(model: Model, dims: readonly number[]): Promise<number> {
  const feeds = {
    x: float32(
      dims,
      randomValues(
        dims.reduce((a, b) => a * b, 1),
        5,
      ),
    ),
  }
  const before = await run(model, feeds, 'disabled')
  const after = await run(foldBatchNorm(model).model, feeds, 'disabled')
  return Math.max(...Object.keys(before).map((name) => relativeError(before[name], after[name])))
}

const LAYERS = {
  'a Conv with bias': [op('Conv', 'x w b -> a'), [6, 4, 3, 3], true],
  'a Conv without bias': [op('Conv', 'x w -> a'), [6, 4, 3, 3], false],
  'a grouped Conv': [op('Conv', 'x w b -> a', { group: intValue(2) }), [6, 2, 3, 3], true],
  'a depthwise Conv': [op('Conv', 'x w6 -> a', { group: intValue(6) }), [6, 1, 3, 3], false],
  'a ConvTranspose': [op('ConvTranspose', 'x w b -> a', { strides: intsValue([2, 2]) }), [4, 6, 3, 3], true],
  'a grouped ConvTranspose': [op('ConvTranspose', 'x w b -> a', { group: intValue(2) }), [4, 3, 3, 3], true],
} as const

describe('folding batch normalization', () => {
  it.each(Object.entries(LAYERS))('keeps what %s computes', async (_, [layer, weightDims, hasBias]) => {
    const isDepthwise = layer.inputs[1] === 'w6'
    const dims = [2, isDepthwise ? 6 : 4, 7, 7]
    const model = modelOf({
      inputs: { x: dims },
      outputs: ['y'],
      nodes: [layer, norm('a', 'n'), op('Relu', 'n -> y')],
      constants: [
        randomTensor(isDepthwise ? 'w6' : 'w', weightDims, 1),
        ...(hasBias ? [randomTensor('b', [6], 2)] : []),
        ...NORM,
      ],
    })

    const { model: folded, notes } = foldBatchNorm(model)

    expect(operatorCounts(folded)).toEqual({ [layer.opType]: 1, Relu: 1 })
    expect(folded.graph.initializers.size).toBe(2)
    expect(notes).toEqual([])
    expect(await differenceAfterFolding(model, dims)).toBeLessThan(1e-5)
  })

  it.each([0, 1])('keeps what a Gemm computes, with transB %d', async (transB) => {
    const model = modelOf({
      inputs: { x: [3, 5] },
      outputs: ['y'],
      nodes: [op('Gemm', 'x w b -> a', { transB: intValue(transB), alpha: floatValue(0.5) }), norm('a', 'y')],
      constants: [randomTensor('w', transB === 0 ? [5, 6] : [6, 5], 1), randomTensor('b', [6], 2), ...NORM],
    })
    expect(operatorCounts(foldBatchNorm(model).model)).toEqual({ Gemm: 1 })
    expect(await differenceAfterFolding(model, [3, 5])).toBeLessThan(1e-5)
  })

  it('leaves weights that another Conv shares as they are for it', async () => {
    const model = modelOf({
      inputs: { x: [1, 4, 7, 7] },
      outputs: ['y', 'c'],
      nodes: [op('Conv', 'x w -> a'), norm('a', 'y'), op('Conv', 'x w -> c')],
      constants: [randomTensor('w', [6, 4, 3, 3], 1), ...NORM],
    })
    expect(operatorCounts(foldBatchNorm(model).model)).toEqual({ Conv: 2 })
    expect(await differenceAfterFolding(model, [1, 4, 7, 7])).toBeLessThan(1e-5)
  })

  it.each([
    ['nothing comes before it that it could go into', [op('Relu', 'x -> a'), norm('a', 'y')], /no Conv or Gemm makes/],
    ['others read the convolution', [op('Conv', 'x w -> a'), norm('a', 'n'), op('Add', 'a n -> y')], /others read "a"/],
    ['it trains', [op('Conv', 'x w -> a'), norm('a', 'y', { training_mode: intValue(1) })], /training mode/],
    [
      'its weights are computed',
      [op('Tanh', 'w -> v'), op('Conv', 'x v -> a'), norm('a', 'y')],
      /not float32 constants/,
    ],
  ] as const)('stays where %s', (_, nodes, why) => {
    const model = modelOf({
      inputs: { x: [1, 6, 7, 7] },
      outputs: ['y'],
      nodes,
      constants: [
        ...(nodes.length > 2 || nodes[0].opType === 'Conv' ? [randomTensor('w', [6, 6, 3, 3], 1)] : []),
        ...NORM,
      ],
    })

    const { model: same, notes } = foldBatchNorm(model)

    expect(same).toBe(model)
    expect(notes).toEqual([expect.stringMatching(why)])
    expect(notes[0]).toContain('BatchNormalization:')
  })

  it('stays where the convolution is itself an output', () => {
    const model = modelOf({
      inputs: { x: [1, 4, 7, 7] },
      outputs: ['a', 'y'],
      nodes: [op('Conv', 'x w -> a'), norm('a', 'y')],
      constants: [randomTensor('w', [6, 4, 3, 3], 1), ...NORM],
    })
    expect(foldBatchNorm(model).model).toBe(model)
  })

  it('finds parameters made by Constant and ConstantOfShape nodes, and initializers declared as inputs', async () => {
    const [gamma, beta, mean] = NORM
    const model = modelOf({
      irVersion: 3,
      opset: 9,
      inputs: { x: [1, 4, 7, 7] },
      outputs: ['y'],
      nodes: [
        op('Constant', '_ -> w', { value: tensorValue(randomTensor('', [6, 4, 3, 3], 1)) }),
        op('ConstantOfShape', 'shape -> variance', { value: tensorValue(floatTensor('', [1], Float32Array.of(0.5))) }),
        op('Conv', 'x w -> a'),
        norm('a', 'y'),
      ],
      constants: [gamma!, beta!, mean!, int64Tensor('shape', [1], [6])],
    })
    const { graph } = model
    const declared = [...graph.initializers.values()].map(({ name, dims, dataType }) => valueInfo(name, dims, dataType))
    const old = { ...model, graph: { ...graph, inputs: [...graph.inputs, ...declared] } }

    expect(operatorCounts(foldBatchNorm(old).model)).toEqual({ Conv: 1 })
    expect(await differenceAfterFolding(old, [1, 4, 7, 7])).toBeLessThan(1e-5)
  })

  it('hands back the very model that has none', () => {
    const model = demoModel('fashion-resnet14')
    expect(foldBatchNorm(model)).toEqual({ model, notes: [] })
    expect(foldBatchNorm(model).model).toBe(model)
  })

  it('folds all of MobileNetV2 and keeps its outputs', async () => {
    const model = demoModel('fashion-mobilenetv2')
    const feeds = batchOf(fashionMnist(), 0, 100)

    const { model: folded } = foldBatchNorm(model)

    expect(operatorCounts(folded)).toEqual({ Conv: 40, Clip: 27, Add: 7, GlobalAveragePool: 1, Flatten: 1, Gemm: 1 })
    const [before, after] = [await run(model, feeds), await run(folded, feeds)]
    expect(relativeError(before['logits'], after['logits'])).toBeLessThan(2e-5)
  })

  it.skipIf(!hasSharedModels).each([
    ['light_shufflenet', 0],
    ['light_densenet121', 62],
  ])('folds %s, of opset 9, and leaves %d that stand alone', async (name, left) => {
    const model = sharedModel(`onnx_light/${name}.onnx`)
    const [input] = model.graph.inputs.filter(({ name: value }) => !model.graph.initializers.has(value))
    const feeds = { [input?.name ?? '']: float32([1, 3, 224, 224], randomValues(3 * 224 * 224, 1)) }

    const { model: folded } = foldBatchNorm(model)

    expect(operatorCounts(folded)['BatchNormalization'] ?? 0).toBe(left)
    const output = model.graph.outputs[0]?.name ?? ''
    expect(relativeError((await run(model, feeds))[output], (await run(folded, feeds))[output])).toBeLessThan(1e-5)
  })
})
