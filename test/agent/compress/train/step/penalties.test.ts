import { describe, expect, it } from 'vitest'
import { emitClipping } from '../../../../../agent/compress/train/step/clip-gradients.ts'
import { emitPenalty, type Penalty } from '../../../../../agent/compress/train/step/penalties.ts'
import { randomValues } from '../../support/graphs.ts'
import { floatFeed, runEmitted } from './support.ts'

const DIMS = [3, 2, 2]
const STRENGTH = 0.2

/** Groups of `group-lasso` are the slices of the first axis, of 4 elements each. */
function reference(kind: Penalty['kind'], weights: ArrayLike<number>): number {
  const values = Array.from(weights)
  switch (kind) {
    case 'l1':
      return STRENGTH * values.reduce((sum, value) => sum + Math.abs(value), 0)
    case 'l2':
      return (STRENGTH / 2) * values.reduce((sum, value) => sum + value ** 2, 0)
    case 'group-lasso':
      return (
        STRENGTH *
        [0, 4, 8].reduce((sum, start) => sum + Math.sqrt(4) * Math.hypot(...values.slice(start, start + 4)), 0)
      )
  }
}

const given = (kind: Penalty['kind'], weights: ArrayLike<number>) =>
  runEmitted(
    (emit) => {
      const weight = emit.input('w', 'FLOAT', DIMS)
      const { loss, gradient } = emitPenalty(emit, { kind, strength: STRENGTH }, weight, DIMS, 0)
      emit.output('loss', loss, [])
      emit.output('gradient', gradient, DIMS)
    },
    { w: floatFeed(DIMS, weights) },
  )

describe('penalties', () => {
  it.each(['l1', 'l2', 'group-lasso'] as const)('%s and its gradient follow the formula', async (kind) => {
    const weights = randomValues(12, 5)
    const { loss, gradient } = await given(kind, weights)
    expect(loss?.[0]).toBeCloseTo(reference(kind, weights), 5)
    for (const at of weights.keys()) {
      const moved = (by: number) => Float64Array.from(weights, (value, k) => (k === at ? value + by : value))
      expect(gradient?.[at]).toBeCloseTo((reference(kind, moved(1e-5)) - reference(kind, moved(-1e-5))) / 2e-5, 4)
    }
  })

  it('leaves an empty channel empty', async () => {
    const { gradient } = await given('group-lasso', new Float32Array(12))
    expect(gradient).toEqual(Array(12).fill(0))
  })
})

describe('clipping', () => {
  const clipped = (maxNorm: number | undefined) =>
    runEmitted(
      (emit) => {
        const gradients = ['a', 'b'].map((name) => ({ value: emit.input(name, 'FLOAT', [2]), rank: 1 }))
        const { norm, gradients: results } = emitClipping(emit, gradients, maxNorm)
        emit.output('norm', norm, [])
        for (const [at, value] of results.entries()) emit.output(`clipped${at}`, value, [2])
      },
      { a: floatFeed([2], [3, 0]), b: floatFeed([2], [0, -4]) },
    )

  it('scales all gradients together down to the norm, and only down', async () => {
    const tight = await clipped(1)
    expect(tight['norm']).toEqual([5])
    expect(tight['clipped0']?.[0]).toBeCloseTo(0.6, 6)
    expect(tight['clipped1']?.[1]).toBeCloseTo(-0.8, 6)
    expect(await clipped(10)).toMatchObject({ clipped0: [3, 0], clipped1: [0, -4] })
    expect(await clipped(undefined)).toMatchObject({ norm: [5], clipped0: [3, 0] })
  })
})
