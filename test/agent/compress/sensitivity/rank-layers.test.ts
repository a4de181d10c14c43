import type { LayerSensitivity } from '@edgefit/shared/model'
import { describe, expect, it } from 'vitest'
import { fasterInFloat, matteringLayers, rankLayers } from '../../../../agent/compress/sensitivity/rank-layers.ts'

function layer(name: string, noiseRatio: number, lostMs: readonly [number, number, number] | null): LayerSensitivity {
  const [low = 0, value = 0, high = 0] = lostMs ?? []
  return {
    layer: name,
    opType: 'Conv',
    sqnrDb: 0,
    noiseRatio,
    klDivergence: null,
    lostMs: lostMs && { value, low, high },
  }
}

const order = (...layers: LayerSensitivity[]) => rankLayers(layers).map(({ layer: name }) => name)

describe('ranking layers', () => {
  it('puts those first that win back most per millisecond', () => {
    expect(order(layer('dear', 0.5, [0.9, 1, 1.1]), layer('cheap', 0.3, [0.09, 0.1, 0.11]))).toEqual(['cheap', 'dear'])
  })

  it('puts those before them that cost nothing, and first of all those that are faster in float', () => {
    const ranking = [
      layer('costly', 9, [0.1, 0.2, 0.3]),
      layer('within noise', 0.1, [-0.1, 0.2, 0.5]),
      layer('noisier, within noise', 0.2, [-0.1, 0.3, 0.5]),
      layer('faster', 0.01, [-0.3, -0.2, -0.1]),
      layer('faster and noisier', 0.02, [-0.3, -0.1, -0.01]),
    ]

    const ranked = rankLayers(ranking)

    expect(ranked.map(({ layer: name }) => name)).toEqual([
      'faster and noisier',
      'faster',
      'noisier, within noise',
      'within noise',
      'costly',
    ])
    expect(fasterInFloat(ranked)).toBe(2)
  })

  it('puts those last that were not timed', () => {
    expect(order(layer('quiet', 1, null), layer('timed', 0.1, [1, 2, 3]))).toEqual(['timed', 'quiet'])
  })

  it('goes by the divergence of probabilities where there is one', () => {
    const loud = { ...layer('loud', 0.9, [1, 1, 1]), klDivergence: 0.001 }
    const wrong = { ...layer('wrong', 0.1, [1, 1, 1]), klDivergence: 0.1 }
    expect(order(loud, wrong)).toEqual(['wrong', 'loud'])
  })

  it('leaves what it was given as it was', () => {
    const given = [layer('b', 1, [1, 1, 1]), layer('a', 2, [1, 1, 1])]
    rankLayers(given)
    expect(given.map(({ layer: name }) => name)).toEqual(['b', 'a'])
  })
})

describe('layers that matter', () => {
  const names = (layers: readonly LayerSensitivity[]) => matteringLayers(layers).map(({ layer: name }) => name)
  const even = (count: number) => Array.from({ length: count }, (_, at) => layer(`even ${at}`, 1, null))

  it('are those that make up 95 % of the noise, loudest first', () => {
    expect(names(even(100))).toHaveLength(95)
    expect(names([layer('quiet', 1, null), layer('loud', 99, null)]).slice(0, 1)).toEqual(['loud'])
  })

  it('are never fewer than eight, where there are as many that do anything', () => {
    expect(names([layer('loud', 1e6, null), ...even(20)])).toHaveLength(8)
    expect(names([layer('loud', 1, null), layer('silent', 0, null)])).toEqual(['loud'])
  })
})
