import { floatTensor, floatValue, intValue } from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import { modelOf, op } from '../../../support/graphs.ts'
import { expectGradients, spread } from '../../support/finite-difference.ts'
import { gradientModel } from '../../support/gradient-model.ts'

const constants = [
  floatTensor('mean', [3], Float32Array.of(-1, 0.5, 2)),
  floatTensor('variance', [3], Float32Array.of(0.25, 1, 4)),
]
const scale = spread('scale', [3], 1, { center: 1, width: 2 })
const norm = (attributes = {}) => op('BatchNormalization', 'x scale bias mean variance -> y', attributes)

describe('the gradients of BatchNormalization', () => {
  it.each([[[4, 3]], [[2, 3, 5]], [[2, 3, 3, 4]]])('on %j', async (x) => {
    await expectGradients({
      nodes: [norm({ epsilon: floatValue(0.01) })],
      inputs: { x, scale, bias: [3] },
      constants,
      step: 0.1,
      tolerance: 1e-4,
    })
  })

  it('are refused where the batch gives the statistics', () => {
    const forward = modelOf({
      inputs: { x: [4, 3], scale: [3], bias: [3] },
      outputs: ['y'],
      nodes: [
        op('BatchNormalization', 'x scale bias mean variance -> y newMean newVariance', { training_mode: intValue(1) }),
      ],
      constants,
    })

    const { missing } = gradientModel(forward, { seeds: ['y'], targets: ['x'] })

    expect(missing.get('x')).toContain('from the batch')
  })
})
