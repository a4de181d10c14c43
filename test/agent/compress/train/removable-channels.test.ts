import { floatTensor, intsValue, intValue } from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import { withRemovableChannels } from '../../../../agent/compress/train/removable-channels.ts'
import { type TrainableScope, trainableWeights } from '../../../../agent/compress/train/trainable.ts'
import { modelOf, op, randomTensor } from '../support/graphs.ts'

const LASSO = [{ kind: 'group-lasso', strength: 1, spared: 0 }] as const
const PADDED = { pads: intsValue([1, 1, 1, 1]) }

/** A residual join around a depthwise convolution with BatchNormalization, and a layer whose outputs are the model's. */
const NET = modelOf({
  inputs: { x: ['n', 2, 4, 4] },
  outputs: ['y'],
  nodes: [
    op('Conv', 'x stem stemBias -> a', PADDED),
    op('Conv', 'a wide -> b'),
    op('Conv', 'b deep -> c', { ...PADDED, group: intValue(6) }),
    op('BatchNormalization', 'c gamma beta mean variance -> d'),
    op('Relu', 'd -> e'),
    op('Conv', 'e narrow -> f'),
    op('Add', 'a f -> g'),
    op('GlobalAveragePool', 'g -> h'),
    op('Flatten', 'h -> i'),
    op('Gemm', 'i head -> y'),
  ],
  constants: [
    randomTensor('stem', [4, 2, 3, 3], 1),
    randomTensor('stemBias', [4], 2),
    randomTensor('wide', [6, 4, 1, 1], 3),
    randomTensor('deep', [6, 1, 3, 3], 4),
    ...['gamma', 'beta', 'mean', 'variance'].map((name) => floatTensor(name, [6], new Float32Array(6).fill(1))),
    randomTensor('narrow', [4, 6, 1, 1], 5),
    randomTensor('head', [4, 3], 6),
  ],
})

function numbersIn(scope: TrainableScope, penalties: Parameters<typeof withRemovableChannels>[2] = LASSO) {
  const weights = withRemovableChannels(NET, trainableWeights(NET, scope), penalties)
  return Object.fromEntries(
    weights.map(({ name, removable }) => [name, removable && { ...removable, numbers: [...removable.numbers] }]),
  )
}

describe('removable channels', () => {
  it('have one number in all that makes them, over joins, normalizations and depthwise convolutions', () => {
    const found = numbersIn({ kind: 'all' })
    const joined = found['stem']
    const inner = found['wide']
    expect(joined).toMatchObject({ axis: 0, spans: [[0, 4]] })
    expect(inner).toMatchObject({ axis: 0, spans: [[4, 10]] })
    expect(new Set([...(joined?.numbers ?? []), ...(inner?.numbers ?? [])]).size).toBe(4 + 6)
    for (const name of ['stemBias', 'narrow']) expect(found[name]).toEqual(joined)
    for (const name of ['deep', 'gamma', 'beta']) expect(found[name]).toEqual(inner)
    expect(found).toHaveProperty('head', undefined)
  })

  it('are left out where something else makes them too', () => {
    const found = numbersIn({ kind: 'last-layers', layers: 3 })
    expect(Object.keys(found)).toEqual(['deep', 'gamma', 'beta', 'narrow', 'head'])
    expect(Object.values(found)).toEqual(Array(5).fill(undefined))
    const withInner = numbersIn({ kind: 'last-layers', layers: 4 })
    expect(withInner).toMatchObject({ wide: withInner['gamma'], deep: { axis: 0 }, narrow: undefined })
  })

  it('are looked for where a penalty presses on them', () => {
    const found = numbersIn({ kind: 'all' }, [{ kind: 'l1', strength: 1 }])
    expect(Object.values(found).every((removable) => removable === undefined)).toBe(true)
  })
})
