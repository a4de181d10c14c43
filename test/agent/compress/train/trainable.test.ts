import { floatTensor, intValue } from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import { trainableWeights } from '../../../../agent/compress/train/trainable.ts'
import { modelOf, op, randomTensor } from '../support/graphs.ts'
import { smallNetwork } from '../support/small-network.ts'

const named = (scope: Parameters<typeof trainableWeights>[1]) =>
  trainableWeights(smallNetwork(), scope).map(({ name }) => name)

describe('trainable weights', () => {
  it('are those of all layers', () => {
    expect(named({ kind: 'all' })).toEqual('w1 gamma beta w2 b2 scale w3 w4 b4'.split(' '))
  })

  it('are those of the last layers, with what lies between', () => {
    expect(named({ kind: 'last-layers', layers: 2 })).toEqual(['w3', 'w4', 'b4'])
    expect(named({ kind: 'last-layers', layers: 3 })).toEqual('w2 b2 scale w3 w4 b4'.split(' '))
    expect(named({ kind: 'last-layers', layers: 99 })).toEqual(named({ kind: 'all' }))
  })

  it('are biases and normalizations alone', () => {
    expect(named({ kind: 'biases-and-norms' })).toEqual('gamma beta b2 scale b4'.split(' '))
  })

  it('know the axis of their output channels, on either side of a product and for many products at once', () => {
    const model = modelOf({
      inputs: { x: [2, 3, 4] },
      outputs: ['y'],
      nodes: [
        op('MatMul', 'left x -> a'),
        op('MatMul', 'a many -> b'),
        op('Gemm', 'b g -> y', { transB: intValue(1) }),
      ],
      constants: [
        randomTensor('left', [5, 3], 1),
        randomTensor('many', [2, 4, 6], 2),
        floatTensor('g', [7, 6], new Float32Array(42)),
      ],
    })
    const axes = trainableWeights(model, { kind: 'all' }).map(({ name, channelAxis }) => [name, channelAxis])
    expect(axes).toEqual([
      ['left', 0],
      ['many', 2],
      ['g', 0],
    ])
  })

  it('are missed in a model without any', () => {
    const model = modelOf({ inputs: { x: [2] }, outputs: ['y'], nodes: [op('Relu', 'x -> y')] })
    expect(() => trainableWeights(model, { kind: 'all' })).toThrow(
      expect.objectContaining({ code: 'MODEL_UNSUPPORTED', message: expect.stringContaining('no weight to train') }),
    )
  })
})
