import {
  floatsValue,
  floatTensor,
  floatValue,
  graphValue,
  int64Tensor,
  intsValue,
  intValue,
  type Node,
  stringValue,
  type Tensor,
} from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import { liftOpset } from '../../../agent/compress/opset-lift.ts'
import { modelOf, op, randomTensor, randomValues } from './support/graphs.ts'
import { float32, run } from './support/runtime.ts'

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

describe('lifting the opset', () => {
  it.each(Object.entries(CASES))('keeps the meaning of %s', async (_, given) => {
    const model = modelFor(given)
    const feeds = {
      x: float32(
        given.dims,
        randomValues(
          given.dims.reduce((a, b) => a * b, 1),
          3,
        ),
      ),
    }

    const lifted = liftOpset(model)

    expect(lifted.opsetImports.get('')).toBe(13)
    expect(lifted.irVersion).toBe(7)
    const [before, after] = [await run(model, feeds, 'disabled'), await run(lifted, feeds, 'disabled')]
    expect(after['y']?.dims).toEqual(before['y']?.dims)
    expect(after['y']?.data).toEqual(before['y']?.data)
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
    const [before, after] = [await run(model, feeds), await run(liftOpset(model), feeds)]
    expect(after['y']).toEqual(before['y'])
  })

  it.each([
    ['Scatter', op('Scatter', 'x i u -> y'), 9],
    ['BatchNormalization', op('BatchNormalization', 'x g b m v -> y', { spatial: intValue(0) }), 7],
    ['Dropout', op('Dropout', 'x -> y mask'), 9],
    ['Resize', op('Resize', 'x computed -> y'), 10],
    ['If', op('If', 'c -> y', { then_branch: graphValue(modelOf({ inputs: {}, outputs: [], nodes: [] }).graph) }), 11],
  ])('refuses a %s that it does not know how to carry over, by name', (opType, node, opset) => {
    const model = modelOf({ opset, inputs: { x: [2] }, outputs: ['y'], nodes: [node] })
    expect(() => liftOpset(model)).toThrow(
      expect.objectContaining({ code: 'MODEL_UNSUPPORTED', details: { node: `${opType}:y`, opType, opset } }),
    )
  })

  it('refuses opsets before broadcasting', () => {
    const model = modelOf({ opset: 6, inputs: { x: [2] }, outputs: ['y'], nodes: [op('Relu', 'x -> y')] })
    expect(() => liftOpset(model)).toThrow(expect.objectContaining({ code: 'MODEL_UNSUPPORTED' }))
  })

  it.each([13, 17, 21])('hands back the very model of opset %d', (opset) => {
    const model = modelOf({ opset, inputs: { x: [2] }, outputs: ['y'], nodes: [op('Relu', 'x -> y')] })
    expect(liftOpset(model)).toBe(model)
  })
})
