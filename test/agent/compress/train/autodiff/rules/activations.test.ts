import { floatTensor, floatValue, intValue, stringValue } from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import { modelOf, op } from '../../../support/graphs.ts'
import { expectGradients, type GradientCase, spread } from '../../support/finite-difference.ts'
import { gradientModel } from '../../support/gradient-model.ts'

const number = (name: string, value: number) => floatTensor(name, [], Float32Array.of(value))
/** Values on both sides of `center`, none of them near it. */
const around = (center: number) => spread('x', [2, 6], 4, { center, width: 3 })

const cases: Readonly<Record<string, GradientCase>> = {
  Relu: { nodes: [op('Relu', 'x -> y')], inputs: { x: [3, 4] } },
  LeakyRelu: { nodes: [op('LeakyRelu', 'x -> y')], inputs: { x: [3, 4] } },
  'LeakyRelu, steep': { nodes: [op('LeakyRelu', 'x -> y', { alpha: floatValue(0.3) })], inputs: { x: [3, 4] } },
  'PRelu, a slope per channel': { nodes: [op('PRelu', 'x slope -> y')], inputs: { x: [2, 3, 2, 2], slope: [3, 1, 1] } },
  'PRelu, one slope': { nodes: [op('PRelu', 'x slope -> y')], inputs: { x: [2, 5], slope: [1] } },
  'Clip, from both sides': {
    nodes: [op('Clip', 'x low high -> y')],
    inputs: { x: [3, 5] },
    constants: [number('low', -0.5), number('high', 0.9)],
  },
  'Clip, from below': { nodes: [op('Clip', 'x low -> y')], inputs: { x: [3, 5] }, constants: [number('low', -0.5)] },
  'Clip, from above': { nodes: [op('Clip', 'x _ high -> y')], inputs: { x: [3, 5] }, constants: [number('high', 0.5)] },
  'Clip, not at all': { nodes: [op('Clip', 'x -> y')], inputs: { x: [3, 5] } },
  'Clip by attributes': {
    nodes: [op('Clip', 'x -> y', { min: floatValue(-0.5), max: floatValue(0.9) })],
    inputs: { x: [3, 5] },
    opset: 10,
  },
  Elu: { nodes: [op('Elu', 'x -> y')], inputs: { x: [3, 4] } },
  'Elu, lower': { nodes: [op('Elu', 'x -> y', { alpha: floatValue(1.7) })], inputs: { x: [3, 4] } },
  Sigmoid: { nodes: [op('Sigmoid', 'x -> y')], inputs: { x: [3, 4] } },
  Tanh: { nodes: [op('Tanh', 'x -> y')], inputs: { x: [3, 4] } },
  Softplus: { nodes: [op('Softplus', 'x -> y')], inputs: { x: [3, 4] } },
  Softsign: { nodes: [op('Softsign', 'x -> y')], inputs: { x: [3, 4] } },
  'HardSigmoid, lower kink': { nodes: [op('HardSigmoid', 'x -> y')], inputs: { x: around(-2.5) } },
  'HardSigmoid, upper kink': { nodes: [op('HardSigmoid', 'x -> y')], inputs: { x: around(2.5) } },
  'HardSigmoid, other slope': {
    nodes: [op('HardSigmoid', 'x -> y', { alpha: floatValue(0.5), beta: floatValue(0.25) })],
    inputs: { x: around(1.5) },
  },
  'HardSwish, lower kink': { nodes: [op('HardSwish', 'x -> y')], inputs: { x: around(-3) } },
  'HardSwish, upper kink': { nodes: [op('HardSwish', 'x -> y')], inputs: { x: around(3) } },
  Gelu: { nodes: [op('Gelu', 'x -> y')], inputs: { x: [3, 4] }, opset: 20 },
  'Gelu, approximated': {
    nodes: [op('Gelu', 'x -> y', { approximate: stringValue('tanh') })],
    inputs: { x: [3, 4] },
    opset: 20,
  },
  Softmax: { nodes: [op('Softmax', 'x -> y')], inputs: { x: [3, 4] } },
  'Softmax over another axis': { nodes: [op('Softmax', 'x -> y', { axis: intValue(1) })], inputs: { x: [2, 3, 2] } },
  LogSoftmax: { nodes: [op('LogSoftmax', 'x -> y')], inputs: { x: [3, 4] } },
  'LogSoftmax over another axis': {
    nodes: [op('LogSoftmax', 'x -> y', { axis: intValue(-2) })],
    inputs: { x: [2, 3, 2] },
  },
}

describe('activations', () => {
  it.each(Object.entries(cases))('%s', async (_, given) => {
    await expectGradients(given)
  })

  it('refuses to train the bounds of a Clip', () => {
    const model = modelOf({ inputs: { x: [2], low: [] }, outputs: ['y'], nodes: [op('Clip', 'x low -> y')] })
    const { frozen } = gradientModel(model, { seeds: ['y'], targets: ['low'] })
    expect(frozen.map(({ reason }) => reason)).toEqual(['its bounds are trained'])
  })
})
