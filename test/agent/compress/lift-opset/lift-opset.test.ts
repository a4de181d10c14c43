import {
  floatsValue,
  floatTensor,
  floatValue,
  graphValue,
  inferShapes,
  int64Tensor,
  intsValue,
  intValue,
  type Model,
  type Node,
  node,
  stringValue,
  type Tensor,
} from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import { foldBatchNorm } from '../../../../agent/compress/fold-batch-norm.ts'
import { liftOpset } from '../../../../agent/compress/lift-opset/lift-opset.ts'
import { controlFlowFeeds, controlFlowModel } from '../support/control-flow.ts'
import { modelOf, op, randomTensor, randomValues } from '../support/graphs.ts'
import { demoModel } from '../support/real-models.ts'
import { float32, operatorCounts, optimized, relativeError, run } from '../support/runtime.ts'
import { quantized } from '../support/static.ts'

interface Case {
  readonly opset: number
  readonly dims: readonly number[]
  readonly nodes: readonly Node[]
  readonly constants?: readonly Tensor[]
}

const CASES: Readonly<Record<string, Case>> = {
  'Squeeze by attribute': { opset: 9, dims: [1, 3, 1], nodes: [op('Squeeze', 'x -> y', { axes: intsValue([0]) })] },
  'Squeeze of everything': { opset: 9, dims: [1, 3, 1], nodes: [op('Squeeze', 'x -> y')] },
  Unsqueeze: { opset: 11, dims: [2, 3], nodes: [op('Unsqueeze', 'x -> y', { axes: intsValue([0, 2]) })] },
  ReduceSum: {
    opset: 11,
    dims: [2, 3, 4],
    nodes: [op('ReduceSum', 'x -> y', { axes: intsValue([1]), keepdims: intValue(0) })],
  },
  'ReduceSum of everything': { opset: 9, dims: [2, 3], nodes: [op('ReduceSum', 'x -> y')] },
  Split: {
    opset: 9,
    dims: [2, 5],
    nodes: [op('Split', 'x -> a y', { axis: intValue(1), split: intsValue([2, 3]) })],
  },
  'Split into equal parts': { opset: 11, dims: [2, 4], nodes: [op('Split', 'x -> a y', { axis: intValue(1) })] },
  'Slice by attributes': {
    opset: 9,
    dims: [4, 6],
    nodes: [op('Slice', 'x -> y', { starts: intsValue([1, -4]), ends: intsValue([3, 99]), axes: intsValue([0, 1]) })],
  },
  'Slice of the first axes': {
    opset: 9,
    dims: [4, 6],
    nodes: [op('Slice', 'x -> y', { starts: intsValue([1]), ends: intsValue([3]) })],
  },
  'Slice by inputs': {
    opset: 10,
    dims: [4, 6],
    nodes: [op('Slice', 'x from to -> y')],
    constants: [int64Tensor('from', [1], [1]), int64Tensor('to', [1], [3])],
  },
  'Clip by attributes': {
    opset: 9,
    dims: [20],
    nodes: [op('Clip', 'x -> y', { min: floatValue(-0.2), max: floatValue(0.3) })],
  },
  'Clip at one end': { opset: 7, dims: [20], nodes: [op('Clip', 'x -> y', { max: floatValue(0.3) })] },
  'Clip by inputs': {
    opset: 11,
    dims: [20],
    nodes: [op('Clip', 'x _ hi -> y')],
    constants: [floatTensor('hi', [], Float32Array.of(0.3))],
  },
  Pad: {
    opset: 9,
    dims: [2, 3],
    nodes: [op('Pad', 'x -> y', { pads: intsValue([0, 1, 2, 0]), value: floatValue(7) })],
  },
  'Pad by reflection': {
    opset: 10,
    dims: [2, 3],
    nodes: [op('Pad', 'x -> y', { pads: intsValue([0, 1, 0, 1]), mode: stringValue('reflect') })],
  },
  Dropout: { opset: 9, dims: [8], nodes: [op('Dropout', 'x -> y', { ratio: floatValue(0.9) })] },
  'Upsample by attribute': {
    opset: 7,
    dims: [1, 2, 3, 3],
    nodes: [op('Upsample', 'x -> y', { scales: floatsValue([1, 1, 2, 2]) })],
  },
  'Upsample by input, linear': {
    opset: 9,
    dims: [1, 2, 3, 4],
    nodes: [op('Upsample', 'x scales -> y', { mode: stringValue('linear') })],
    constants: [floatTensor('scales', [4], Float32Array.of(1, 1, 2, 3))],
  },
  'Resize of opset 10 that enlarges': {
    opset: 10,
    dims: [1, 2, 5, 5],
    nodes: [op('Resize', 'x scales -> y', { mode: stringValue('nearest') })],
    constants: [floatTensor('scales', [4], Float32Array.of(1, 1, 1.6, 2.3))],
  },
  'Resize of opset 10 that shrinks': {
    opset: 10,
    dims: [1, 2, 9, 9],
    nodes: [op('Resize', 'x scales -> y', { mode: stringValue('nearest') })],
    constants: [floatTensor('scales', [4], Float32Array.of(1, 1, 0.4, 0.7))],
  },
  'Resize of opset 10, linear': {
    opset: 10,
    dims: [1, 2, 9, 9],
    nodes: [op('Resize', 'x scales -> y', { mode: stringValue('linear') })],
    constants: [floatTensor('scales', [4], Float32Array.of(1, 1, 0.4, 2.3))],
  },
  'Resize of opset 11': {
    opset: 11,
    dims: [1, 2, 5, 5],
    nodes: [
      op('Resize', 'x roi scales -> y', {
        mode: stringValue('linear'),
        coordinate_transformation_mode: stringValue('align_corners'),
      }),
    ],
    constants: [floatTensor('roi', [0], new Float32Array()), floatTensor('scales', [4], Float32Array.of(1, 1, 2, 2))],
  },
  'Softmax over all axes from 1 on': { opset: 9, dims: [2, 3, 4], nodes: [op('Softmax', 'x -> y')] },
  'Softmax of two axes': { opset: 11, dims: [4, 5], nodes: [op('Softmax', 'x -> y')] },
  'Softmax over one pixel': { opset: 9, dims: [2, 5, 1, 1], nodes: [op('Softmax', 'x -> y')] },
  'LogSoftmax from a negative axis': {
    opset: 11,
    dims: [2, 3, 4],
    nodes: [op('LogSoftmax', 'x -> y', { axis: intValue(-2) })],
  },
  'BatchNormalization with spatial': {
    opset: 8,
    dims: [1, 3, 4, 4],
    nodes: [op('BatchNormalization', 'x g b m v -> y', { spatial: intValue(1) })],
    constants: ['g', 'b', 'm', 'v'].map((name, at) => floatTensor(name, [3], Float32Array.of(1 + at, 2, 3))),
  },
  Scatter: {
    opset: 9,
    dims: [3, 3],
    nodes: [op('Scatter', 'x i u -> y')],
    constants: [int64Tensor('i', [1, 3], [2, 0, 1]), floatTensor('u', [1, 3], Float32Array.of(7, 8, 9))],
  },
  Hardmax: { opset: 11, dims: [2, 3, 4], nodes: [op('Hardmax', 'x -> y')] },
  'Resize to sizes, of opset 11': {
    opset: 11,
    dims: [1, 2, 5, 5],
    nodes: [op('Resize', 'x none none sizes -> y', { mode: stringValue('linear') })],
    constants: [floatTensor('none', [0], new Float32Array()), int64Tensor('sizes', [4], [1, 2, 7, 3])],
  },
  ...Object.fromEntries(
    ['L1', 'L2', 'LogSumExp', 'Max', 'Mean', 'Min', 'Prod', 'Sum', 'SumSquare'].map((kind) => [
      `Reduce${kind} by attribute`,
      {
        opset: 12,
        dims: [2, 3, 4],
        nodes: [op(`Reduce${kind}`, 'x -> y', { axes: intsValue([0, -1]), keepdims: intValue(0) })],
      },
    ]),
  ),
  'ReduceMean of everything': { opset: 13, dims: [2, 3], nodes: [op('ReduceMean', 'x -> y')] },
  'Split into as many as there are outputs': {
    opset: 17,
    dims: [2, 6],
    nodes: [op('Split', 'x -> a y b', { axis: intValue(1) })],
  },
  'Split by input': {
    opset: 13,
    dims: [2, 5],
    nodes: [op('Split', 'x sizes -> a y', { axis: intValue(1) })],
    constants: [int64Tensor('sizes', [2], [1, 4])],
  },
  'Reshape that keeps a dim': {
    opset: 13,
    dims: [2, 3, 4],
    nodes: [op('Reshape', 'x s -> y')],
    constants: [int64Tensor('s', [2], [0, -1])],
  },
  'GroupNormalization by group': {
    opset: 18,
    dims: [2, 6, 3, 3],
    nodes: [op('GroupNormalization', 'x s b -> y', { num_groups: intValue(2), epsilon: floatValue(1e-3) })],
    constants: [floatTensor('s', [2], Float32Array.of(2, 3)), floatTensor('b', [2], Float32Array.of(-1, 1))],
  },
  'GridSample, linear': {
    opset: 16,
    dims: [1, 2, 4, 4],
    nodes: [op('GridSample', 'x g -> y', { mode: stringValue('bilinear') })],
    constants: [randomTensor('g', [1, 3, 3, 2], 4)],
  },
  'GridSample by default': {
    opset: 16,
    dims: [1, 2, 4, 4],
    nodes: [op('GridSample', 'x g -> y')],
    constants: [randomTensor('g', [1, 3, 3, 2], 4)],
  },
  RoiAlign: {
    opset: 11,
    dims: [1, 2, 8, 8],
    nodes: [op('RoiAlign', 'x r i -> y', { output_height: intValue(2), output_width: intValue(2) })],
    constants: [floatTensor('r', [1, 4], Float32Array.of(1, 1, 6, 5)), int64Tensor('i', [1], [0])],
  },
  DFT: { opset: 17, dims: [1, 8, 1], nodes: [op('DFT', 'x -> y')] },
  'DFT over another axis': { opset: 17, dims: [1, 4, 8, 1], nodes: [op('DFT', 'x -> y', { axis: intValue(2) })] },
  ...Object.fromEntries(
    [0, 1].flatMap((ceil) =>
      [0, 1].map((pad) => [
        `AveragePool, ceil ${ceil}, padding counts ${pad}`,
        {
          opset: 11,
          dims: [1, 2, 7, 8],
          nodes: [
            op('AveragePool', 'x -> y', {
              kernel_shape: intsValue([3, 2]),
              strides: intsValue([2, 2]),
              pads: intsValue([1, 0, 1, 1]),
              ceil_mode: intValue(ceil),
              count_include_pad: intValue(pad),
            }),
          ],
        },
      ]),
    ),
  ),
  LpPool: {
    opset: 11,
    dims: [1, 2, 7, 8],
    nodes: [
      op('LpPool', 'x -> y', {
        kernel_shape: intsValue([3, 2]),
        strides: intsValue([2, 2]),
        pads: intsValue([1, 0, 1, 1]),
      }),
    ],
  },
  'BatchNormalization of opset 13': {
    opset: 13,
    dims: [1, 3, 4, 4],
    nodes: [op('BatchNormalization', 'x g b m v -> y', { epsilon: floatValue(1e-3) })],
    constants: ['g', 'b', 'm', 'v'].map((name, at) => floatTensor(name, [3], Float32Array.of(1 + at, 2, 3))),
  },
  'QuantizeLinear by channel': {
    opset: 13,
    dims: [1, 3, 4],
    nodes: [op('QuantizeLinear', 'x s z -> q'), op('DequantizeLinear', 'q s z -> y')],
    constants: [
      floatTensor('s', [3], Float32Array.of(0.1, 0.02, 0.003)),
      { name: 'z', dataType: 'UINT8', dims: [3], data: Uint8Array.of(1, 100, 128) },
    ],
  },
  'LSTM, GRU': {
    opset: 7,
    dims: [3, 1, 2],
    nodes: [op('LSTM', 'x w r -> a', { hidden_size: intValue(2) }), op('Squeeze', 'a -> y')],
    constants: [randomTensor('w', [1, 8, 2], 1), randomTensor('r', [1, 8, 2], 2)],
  },
  'Conv, pools, Gemm': {
    opset: 7,
    dims: [1, 3, 8, 8],
    nodes: [
      op('Conv', 'x w -> c'),
      op('Relu', 'c -> r'),
      op('MaxPool', 'r -> p', { kernel_shape: intsValue([2, 2]), strides: intsValue([2, 2]) }),
      op('GlobalAveragePool', 'p -> g'),
      op('Flatten', 'g -> f'),
      op('Gemm', 'f v b -> y'),
    ],
    constants: [randomTensor('w', [4, 3, 3, 3], 1), randomTensor('v', [4, 2], 2), randomTensor('b', [2], 3)],
  },
}

function modelFor({ opset, dims, nodes, constants = [] }: Case) {
  return modelOf({ opset, irVersion: 4, inputs: { x: dims }, outputs: ['y'], nodes, constants })
}

function feedsFor({ dims }: Case) {
  const count = dims.reduce((a, b) => a * b, 1)
  return { x: float32(dims, randomValues(count, 3)) }
}

describe('lifting the opset', () => {
  it.each(
    Object.entries(CASES).flatMap(([name, given]) =>
      [13, 18, 21].flatMap((version) => (version > given.opset ? [[name, version, given] as const] : [])),
    ),
  )('keeps the meaning of %s in opset %d', async (name, version, given) => {
    const model = modelFor(given)
    const feeds = feedsFor(given)

    const lifted = liftOpset(model, version)

    expect(lifted.opsetImports.get('')).toBe(version)
    expect(lifted.irVersion).toBe(version === 13 ? 7 : version === 18 ? 8 : 10)
    const [before, after] = [await run(model, feeds, 'disabled'), await run(lifted, feeds, 'disabled')]
    expect(after['y']?.dims).toEqual(before['y']?.dims)
    // From opset 19 on the runtime has another kernel for AveragePool.
    if (name.startsWith('AveragePool')) expect(relativeError(before['y'], after['y'])).toBeLessThan(1e-6)
    else expect(after['y']?.data).toEqual(before['y']?.data)
    const known = inferShapes(lifted).graph.outputs[0]?.type
    const shape = known?.kind === 'tensor' ? known.shape : undefined
    if (shape !== undefined) {
      for (const [axis, dim] of shape.entries()) if (typeof dim === 'number') expect(dim).toBe(after['y']?.dims[axis])
    }
    expect(shape?.every((dim) => typeof dim === 'number')).toBe(true)
  })

  it('keeps integer kernels integer', async () => {
    const source = foldBatchNorm(demoModel('fashion-resnet14')).model
    const feeds = { input: float32([1, 1, 28, 28], randomValues(784, 1)) }
    const executed = async (model: Model) => operatorCounts(await optimized((await quantized(model, feeds)).model))
    expect(await executed(liftOpset(source, 21))).toEqual(await executed(source))
  })

  it('keeps the meaning of Softmax where no shape is known', async () => {
    const model = modelOf({
      opset: 9,
      irVersion: 4,
      inputs: { x: ['a', 'b', 'c', 'd'] },
      outputs: ['y'],
      nodes: [op('Relu', 'x -> r'), op('Softmax', 'r -> y', { axis: intValue(2) })],
    })
    const feeds = { x: float32([2, 2, 3, 4], randomValues(48, 3)) }
    const [before, after] = [await run(model, feeds), await run(liftOpset(model, 13), feeds)]
    expect(after['y']).toEqual(before['y'])
  })

  it('reaches into If, Loop and what they hold, with names that are new in all of the model', async () => {
    const model = controlFlowModel(11)
    for (const feeds of [controlFlowFeeds(true), controlFlowFeeds(false)]) {
      const before = await run(model, feeds, 'disabled')
      for (const version of [13, 18, 21]) {
        const lifted = liftOpset(model, version)
        expect(lifted.opsetImports.get('')).toBe(version)
        expect(await run(lifted, feeds, 'disabled')).toEqual(before)
        expect(relativeError(before['y'], (await run(lifted, feeds))['y'])).toBeLessThan(1e-5)
      }
    }
  })

  it.each([
    ['Unknown', op('Unknown', 'x -> y'), 9],
    ['BatchNormalization', op('BatchNormalization', 'x g b m v -> y', { spatial: intValue(0) }), 7],
    ['BatchNormalization', op('BatchNormalization', 'x g b m v -> y mean'), 13],
    ['Dropout', op('Dropout', 'x -> y mask'), 9],
    ['Resize', op('Resize', 'x computed -> y'), 10],
    ['Resize', op('Resize', 'x r s -> y', { coordinate_transformation_mode: stringValue('tf_half_pixel_for_nn') }), 11],
    ['GroupNormalization', op('GroupNormalization', 'x s b -> y', { num_groups: intValue(2) }), 18],
    ['Scan', op('Scan', 'x -> y'), 8],
  ])('refuses a %s that it does not know how to carry over, by name', (opType, node, opset) => {
    const model = modelOf({ opset, inputs: { x: [2] }, outputs: ['y'], nodes: [node] })
    expect(() => liftOpset(model, 21)).toThrow(
      expect.objectContaining({
        code: 'MODEL_UNSUPPORTED',
        message: expect.stringContaining('export the model again'),
        details: expect.objectContaining({ node: `${opType}:y`, opType, opset }),
      }),
    )
  })

  it('refuses such a node inside a branch too', () => {
    const branch = { ...modelOf({ inputs: {}, outputs: ['b'], nodes: [op('Unknown', 'x -> b')] }).graph }
    const node = op('If', 'c -> y', { then_branch: graphValue(branch), else_branch: graphValue(branch) })
    const model = modelOf({ opset: 11, inputs: { x: [2], c: [] }, outputs: ['y'], nodes: [node] })
    expect(() => liftOpset(model, 13)).toThrow(expect.objectContaining({ code: 'MODEL_UNSUPPORTED' }))
  })

  it('refuses operators that the model defines itself, which the runtime would read in the new opset', () => {
    const nodes = [node({ opType: 'Mine', domain: 'local', inputs: ['x'], outputs: ['y'] })]
    const model = modelOf({ opset: 11, inputs: { x: [2] }, outputs: ['y'], nodes })
    const text = (value: string): readonly number[] => [value.length, ...new TextEncoder().encode(value)]
    // ModelProto.functions (25) with a FunctionProto of name (1) and domain (10).
    const body = [0x0a, ...text('Mine'), 0x52, ...text('local')]
    const withFunction = { ...model, opaque: Uint8Array.of(0xca, 0x01, body.length, ...body) }
    expect(() => liftOpset(withFunction, 13)).toThrow(
      expect.objectContaining({
        code: 'MODEL_UNSUPPORTED',
        details: { functions: ['local.Mine'], opset: 11, version: 13 },
      }),
    )
    expect(liftOpset(withFunction, 11)).toBe(withFunction)
  })

  it('refuses opsets before broadcasting', () => {
    const model = modelOf({ opset: 6, inputs: { x: [2] }, outputs: ['y'], nodes: [op('Relu', 'x -> y')] })
    expect(() => liftOpset(model, 13)).toThrow(expect.objectContaining({ code: 'MODEL_UNSUPPORTED' }))
  })

  it.each([13, 17, 21])('hands back the very model of opset %d', (opset) => {
    const model = modelOf({ opset, inputs: { x: [2] }, outputs: ['y'], nodes: [op('Relu', 'x -> y')] })
    expect(liftOpset(model, 13)).toBe(model)
  })
})
