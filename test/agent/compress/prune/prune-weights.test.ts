import { asFloat32, floatTensor, type Model } from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import { type PruneWeightsPass, pruneWeights } from '../../../../agent/compress/prune/prune-weights.ts'
import { modelOf, op, randomTensor } from '../support/graphs.ts'
import { demoModel } from '../support/real-models.ts'

function network(): Model {
  return modelOf({
    inputs: { x: [1, 2] },
    outputs: ['y'],
    nodes: [op('Gemm', 'x w1 bias -> a'), op('MatMul', 'a w2 -> y')],
    constants: [
      floatTensor('w1', [2, 3], Float32Array.of(1, -2, 3, -4, 5, 6)),
      floatTensor('bias', [3], Float32Array.of(0.1, 0.1, 0.1)),
      floatTensor('w2', [3, 2], Float32Array.of(10, 20, 20, -20, 50, 60)),
    ],
  })
}

function weights(target: PruneWeightsPass['target'], exclude: string[] = []) {
  const { model } = pruneWeights(network(), { pass: 'prune-weights', target, exclude })
  return ['w1', 'w2', 'bias'].map((name) => [...asFloat32(model.graph.initializers.get(name)!)])
}

const BIAS = [...Float32Array.of(0.1, 0.1, 0.1)]

describe('zeroing weights', () => {
  it('takes the smallest of each layer, the first of equals', () => {
    const target = { by: 'sparsity', sparsity: 0.5, scope: 'per-layer' } as const
    expect(weights(target)).toEqual([[0, 0, 0, -4, 5, 6], [0, 0, 0, -20, 50, 60], BIAS])
  })

  it('takes the smallest of all layers', () => {
    const target = { by: 'sparsity', sparsity: 0.5, scope: 'global' } as const
    expect(weights(target)).toEqual([[0, 0, 0, 0, 0, 0], [10, 20, 20, -20, 50, 60], BIAS])
  })

  it('takes all below a magnitude', () => {
    expect(weights({ by: 'magnitude', threshold: 4 })).toEqual([[0, 0, 0, -4, 5, 6], [10, 20, 20, -20, 50, 60], BIAS])
  })

  it('leaves what is excluded, and refuses names it does not know', () => {
    const target = { by: 'sparsity', sparsity: 0.5, scope: 'per-layer' } as const
    expect(weights(target, ['Gemm:a'])[0]).toEqual([1, -2, 3, -4, 5, 6])
    expect(() => weights(target, ['none'])).toThrow(expect.objectContaining({ code: 'RECIPE_INVALID' }))
  })

  it('says what it buys: bytes, measured, and no time', () => {
    const target = { by: 'sparsity', sparsity: 0.8, scope: 'global' } as const
    const { notes } = pruneWeights(demoModel('fashion-resnet14'), { pass: 'prune-weights', target, exclude: [] })
    expect(notes[0]).toMatch(/^80\.0 % of \d+ weights are zero$/)
    const [, before, after] = /(\d+) bytes before, (\d+) after/.exec(notes[1] ?? '') ?? []
    expect(Number(after)).toBeLessThan(Number(before) * 0.5)
    expect(notes[2]).toContain('no time is saved')
  })

  it('leaves alone what is not a weight', () => {
    const model = modelOf({
      inputs: { x: [1, 4] },
      outputs: ['y'],
      nodes: [op('Add', 'x c -> y')],
      constants: [randomTensor('c', [4], 1)],
    })
    const target = { by: 'magnitude', threshold: 10 } as const
    const { model: pruned } = pruneWeights(model, { pass: 'prune-weights', target, exclude: [] })
    expect(pruned.graph.initializers.get('c')).toEqual(model.graph.initializers.get('c'))
  })
})
