import { floatTensor, type Model } from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import { dependencyGroups } from '../../../../agent/compress/prune/dependency-groups.ts'
import { IMPORTANCES, type Importance } from '../../../../agent/compress/prune/importance.ts'
import { modelOf, op } from '../support/graphs.ts'

const f = (name: string, dims: readonly number[], ...values: number[]) =>
  floatTensor(name, dims, Float32Array.from(values))

/** Filters (3, 4), (0, 0), (6, 8), read with 1, 2 and 0. */
function network(withNorm: boolean): Model {
  const terms = ['beta', 'mean', 'variance'].map((name) => f(name, [3], 1, 1, 1))
  return modelOf({
    inputs: { x: [1, 2, 1, 1] },
    outputs: ['y'],
    nodes: [
      op('Conv', 'x w1 -> a'),
      ...(withNorm ? [op('BatchNormalization', 'a gamma beta mean variance -> b')] : [op('Relu', 'a -> b')]),
      op('Conv', 'b w2 -> y'),
    ],
    constants: [
      f('w1', [3, 2, 1, 1], 3, 4, 0, 0, -6, 8),
      f('w2', [1, 3, 1, 1], 1, 2, 0),
      f('gamma', [3], 0.5, -2, 0.5),
      ...terms,
    ],
  })
}

function scores(importance: Importance, withNorm = false): readonly number[] {
  const { model, groups } = dependencyGroups(network(withNorm))
  return groups.flatMap((group) => [...(importance(model, group) ?? [])])
}

function relativeToMean(values: readonly number[]): readonly number[] {
  const mean = values.reduce((sum, one) => sum + one, 0) / values.length
  return values.map((one) => expect.closeTo(one / mean, 12))
}

describe('importance of channels', () => {
  it.each([
    ['l1', [8, 2, 14]],
    ['l2', [Math.sqrt(26), 2, 10]],
    ['filter-l2', [5, 0, 10]],
    ['batch-norm-gamma', [0.5, 2, 0.5]],
    // Between the filters: 5 to the second, √97 to the third, 10 between those.
    ['geometric-median', [5 + Math.sqrt(97), 15, 10 + Math.sqrt(97)]],
  ] as const)('%s, relative to the mean of its group', (name, expected) => {
    expect(scores(IMPORTANCES[name], true)).toEqual(relativeToMean(expected))
  })

  it('lamp is the share among those at least as large', () => {
    expect(scores(IMPORTANCES.lamp)).toEqual([26 / 126, 4 / 130, 1].map((one) => expect.closeTo(one, 12)))
  })

  it('batch-norm-gamma falls back to l2 where there is no normalization', () => {
    expect(scores(IMPORTANCES['batch-norm-gamma'])).toEqual(scores(IMPORTANCES.l2))
  })
})
