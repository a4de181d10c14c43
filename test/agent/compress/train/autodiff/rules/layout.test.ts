import { floatTensor, int64Tensor, intsValue, intValue, stringValue } from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import { modelOf, op } from '../../../support/graphs.ts'
import { expectGradients, type GradientCase } from '../../support/finite-difference.ts'
import { gradientModel } from '../../support/gradient-model.ts'

const ints = (name: string, ...values: number[]) => int64Tensor(name, [values.length], values)

const cases: Readonly<Record<string, GradientCase>> = {
  Reshape: { nodes: [op('Reshape', 'x to -> y')], inputs: { x: [2, 6] }, constants: [ints('to', 3, -1, 2)] },
  Flatten: { nodes: [op('Flatten', 'x -> y', { axis: intValue(2) })], inputs: { x: [2, 3, 2] } },
  Squeeze: { nodes: [op('Squeeze', 'x axes -> y')], inputs: { x: [2, 1, 3, 1] }, constants: [ints('axes', 1)] },
  'Squeeze of all': { nodes: [op('Squeeze', 'x -> y')], inputs: { x: [2, 1, 3, 1] } },
  Unsqueeze: { nodes: [op('Unsqueeze', 'x axes -> y')], inputs: { x: [2, 3] }, constants: [ints('axes', 0, -1)] },
  Transpose: { nodes: [op('Transpose', 'x -> y')], inputs: { x: [2, 3, 4] } },
  'Transpose in a circle': {
    nodes: [op('Transpose', 'x -> y', { perm: intsValue([1, 2, 0]) })],
    inputs: { x: [2, 3, 4] },
  },
  Concat: { nodes: [op('Concat', 'a b c -> y', { axis: intValue(1) })], inputs: { a: [2, 1], b: [2, 3], c: [2, 2] } },
  'Concat along the last axis, of which one part is trained': {
    nodes: [op('Concat', 'a b -> y', { axis: intValue(-1) })],
    inputs: { a: [2, 1], b: [2, 3] },
    by: ['b'],
  },
  'Concat of a value with itself': {
    nodes: [op('Concat', 'a a -> y', { axis: intValue(0) })],
    inputs: { a: [2, 3] },
  },
  'Concat of opset 18': {
    nodes: [op('Concat', 'a b -> y', { axis: intValue(0) })],
    inputs: { a: [2, 3], b: [1, 3] },
    opset: 18,
  },
  Split: {
    nodes: [op('Split', 'x lengths -> a b', { axis: intValue(1) })],
    inputs: { x: [2, 5] },
    constants: [ints('lengths', 2, 3)],
  },
  'Split in equal parts': { nodes: [op('Split', 'x -> a b', { axis: intValue(-1) })], inputs: { x: [2, 4] } },
  'Split of which one part is used': {
    nodes: [op('Split', 'x lengths -> a b c')],
    inputs: { x: [6, 2] },
    constants: [ints('lengths', 1, 3, 2)],
    outputs: ['b'],
  },
  'Split of opset 18': {
    nodes: [op('Split', 'x -> a b', { num_outputs: intValue(2) })],
    inputs: { x: [5, 2] },
    opset: 18,
  },
  Pad: { nodes: [op('Pad', 'x pads -> y')], inputs: { x: [2, 3] }, constants: [ints('pads', 1, 0, 2, 3)] },
  'Pad by a value': {
    nodes: [op('Pad', 'x pads value -> y')],
    inputs: { x: [2, 3] },
    constants: [ints('pads', 0, 1, 1, 0), floatTensor('value', [], Float32Array.of(4))],
  },
  'Pad that cuts off': {
    nodes: [op('Pad', 'x pads -> y')],
    inputs: { x: [4, 3] },
    constants: [ints('pads', -1, 1, 0, -1)],
  },
  'Pad of some axes': {
    nodes: [op('Pad', 'x pads _ axes -> y')],
    inputs: { x: [2, 2, 3] },
    constants: [ints('pads', 1, 2), ints('axes', -1)],
    opset: 18,
  },
  Expand: { nodes: [op('Expand', 'x to -> y')], inputs: { x: [3, 1] }, constants: [ints('to', 2, 1, 4)] },
  Tile: { nodes: [op('Tile', 'x repeats -> y')], inputs: { x: [2, 3] }, constants: [ints('repeats', 3, 2)] },
  Resize: {
    nodes: [op('Resize', 'x _ scales -> y')],
    inputs: { x: [1, 2, 2, 3] },
    constants: [floatTensor('scales', [4], Float32Array.of(1, 1, 2, 3))],
  },
  'Resize to a size, from the left': {
    nodes: [
      op('Resize', 'x _ _ sizes -> y', {
        coordinate_transformation_mode: stringValue('asymmetric'),
        nearest_mode: stringValue('floor'),
      }),
    ],
    inputs: { x: [1, 1, 2, 2] },
    constants: [ints('sizes', 1, 1, 6, 4)],
  },
  DepthToSpace: {
    nodes: [op('DepthToSpace', 'x -> y', { blocksize: intValue(2) })],
    inputs: { x: [1, 8, 1, 2] },
  },
  SpaceToDepth: {
    nodes: [op('SpaceToDepth', 'x -> y', { blocksize: intValue(2) })],
    inputs: { x: [1, 2, 2, 4] },
  },
}

const refused: Readonly<Record<string, Pick<GradientCase, 'nodes' | 'constants'>>> = {
  'Pad by reflection': {
    nodes: [op('Pad', 'x pads -> y', { mode: stringValue('reflect') })],
    constants: [ints('pads', 1, 0, 0, 0, 0, 0, 0, 0)],
  },
  'Resize by a broken factor': {
    nodes: [op('Resize', 'x _ _ sizes -> y')],
    constants: [ints('sizes', 1, 4, 3, 3)],
  },
  'Resize by a factor that is not whole, to a length that is a multiple': {
    nodes: [op('Resize', 'x _ scales -> y')],
    constants: [floatTensor('scales', [4], Float32Array.of(1, 1, 2.25, 2))],
  },
  'Resize between elements': {
    nodes: [op('Resize', 'x _ _ sizes -> y', { mode: stringValue('linear') })],
    constants: [ints('sizes', 1, 4, 4, 4)],
  },
  'DepthToSpace by columns and rows': {
    nodes: [op('DepthToSpace', 'x -> y', { blocksize: intValue(2), mode: stringValue('CRD') })],
    constants: [],
  },
}

describe('layout operators', () => {
  it.each(Object.entries(cases))('%s', async (_, given) => {
    await expectGradients(given)
  })

  it.each(Object.entries(refused))('%s is refused', (_, { nodes, constants = [] }) => {
    const model = modelOf({ inputs: { x: [1, 4, 2, 2] }, outputs: ['y'], nodes, constants })
    const { frozen } = gradientModel(model, { seeds: ['y'], targets: ['x'] })
    expect(frozen).toHaveLength(1)
  })
})
