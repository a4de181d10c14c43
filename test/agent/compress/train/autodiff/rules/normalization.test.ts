import { floatValue, intValue } from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import { modelOf, op } from '../../../support/graphs.ts'
import { expectGradients, type GradientCase } from '../../support/finite-difference.ts'
import { gradientModel } from '../../support/gradient-model.ts'

const cases: Readonly<Record<string, GradientCase>> = {
  'over the last axis': {
    nodes: [op('LayerNormalization', 'x scale bias -> y')],
    inputs: { x: [2, 3, 5], scale: [5], bias: [5] },
  },
  'over two axes': {
    nodes: [op('LayerNormalization', 'x scale bias -> y', { axis: intValue(1) })],
    inputs: { x: [2, 3, 4], scale: [3, 4], bias: [3, 4] },
  },
  'without a bias': { nodes: [op('LayerNormalization', 'x scale -> y')], inputs: { x: [3, 4], scale: [4] } },
  'with a large epsilon': {
    nodes: [op('LayerNormalization', 'x scale bias -> y', { epsilon: floatValue(0.5) })],
    inputs: { x: [3, 4], scale: [4], bias: [4] },
  },
  'of opset 18': {
    nodes: [op('LayerNormalization', 'x scale bias -> y')],
    inputs: { x: [3, 4], scale: [4], bias: [4] },
    opset: 18,
  },
  'whose mean is an output already': {
    nodes: [op('LayerNormalization', 'x scale bias -> y mean')],
    inputs: { x: [3, 4], scale: [4], bias: [4] },
    outputs: ['y'],
  },
}

describe('LayerNormalization', () => {
  it.each(Object.entries(cases))('%s', async (_, given) => {
    await expectGradients(given)
  })

  it('is refused where the loss looks at its statistics', () => {
    const nodes = [op('LayerNormalization', 'x scale _ -> y mean')]
    const model = modelOf({ inputs: { x: [3, 4], scale: [4] }, outputs: ['y', 'mean'], nodes })
    const { frozen } = gradientModel(model, { seeds: ['y', 'mean'], targets: ['x'] })
    expect(frozen.map(({ reason }) => reason)).toEqual(['the loss depends on its statistics'])
  })
})
