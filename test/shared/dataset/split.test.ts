import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { defaultSplit, splitIndices } from '../../../shared/dataset/index.ts'
import { SplitSpec } from '../../../shared/model/index.ts'

describe('defaultSplit', () => {
  it.each([
    [3, 1, 1, 1],
    [10, 1, 3, 6],
    [569, 56, 170, 343],
    [10_000, 512, 3000, 6488],
  ])('cuts %d samples into %d, %d and %d', (count, calibration, tuning, evaluation) => {
    expect(defaultSplit(count)).toEqual({ seed: 0, calibration, tuning, evaluation })
  })

  it('always gives a valid spec that uses every sample', () => {
    fc.assert(
      fc.property(fc.integer({ min: 3, max: 100_000 }), (count) => {
        const spec = SplitSpec.parse(defaultSplit(count, 7))
        expect(spec.calibration + spec.tuning + spec.evaluation).toBe(count)
      }),
    )
  })

  it('refuses fewer than three samples', () => {
    expect(() => defaultSplit(2)).toThrow(
      expect.objectContaining({ code: 'DATASET_INVALID', message: expect.stringMatching(/2 samples.*at least 3/) }),
    )
  })
})

describe('a split for training', () => {
  it('sets half of the samples aside, which no other part has', () => {
    const spec = defaultSplit(1000, 3, true)
    expect(spec).toEqual({ seed: 3, training: 500, calibration: 50, tuning: 150, evaluation: 300 })
    const parts = splitIndices(1000, spec)
    const all = [...parts.training, ...parts.calibration, ...parts.tuning, ...parts.evaluation]
    expect(new Set(all).size).toBe(1000)
  })

  it('trains on the calibration samples where it has none of its own', () => {
    const parts = splitIndices(100, defaultSplit(100))
    expect(parts.training).toEqual(parts.calibration)
  })

  it('refuses more than there is', () => {
    const spec = { seed: 0, calibration: 5, tuning: 5, evaluation: 5, training: 6 }
    expect(() => splitIndices(20, spec)).toThrow(
      expect.objectContaining({ code: 'DATASET_INVALID', message: expect.stringContaining('5 + 5 + 5 + 6 = 21') }),
    )
  })
})

describe('splitIndices', () => {
  it('gives disjoint parts of the asked sizes, within the dataset', () => {
    const part = fc.integer({ min: 1, max: 50 })
    fc.assert(
      fc.property(part, part, part, fc.nat({ max: 50 }), fc.nat(), (calibration, tuning, evaluation, spare, seed) => {
        const count = calibration + tuning + evaluation + spare
        const parts = splitIndices(count, { seed, calibration, tuning, evaluation })
        const all = [...parts.calibration, ...parts.tuning, ...parts.evaluation]
        expect([parts.calibration, parts.tuning, parts.evaluation].map(({ length }) => length)).toEqual([
          calibration,
          tuning,
          evaluation,
        ])
        expect(new Set(all).size).toBe(all.length)
        expect(all.every((index) => index >= 0 && index < count)).toBe(true)
      }),
    )
  })

  it('is the same for the same seed everywhere, and another for another', () => {
    const spec = { seed: 42, calibration: 2, tuning: 3, evaluation: 5 }

    expect(splitIndices(10, spec)).toEqual(splitIndices(10, spec))
    expect(splitIndices(10, spec)).not.toEqual(splitIndices(10, { ...spec, seed: 43 }))
    // Recorded studies depend on this order: it may not change between releases.
    expect([...splitIndices(10, spec).calibration, ...splitIndices(10, spec).tuning]).toMatchInlineSnapshot(`
      [
        6,
        1,
        2,
        5,
        3,
      ]
    `)
  })

  it('draws from the whole dataset', () => {
    const { calibration } = splitIndices(10_000, { seed: 1, calibration: 1000, tuning: 1, evaluation: 1 })
    const mean = calibration.reduce((sum, index) => sum + index, 0) / calibration.length

    expect(Math.abs(mean - 5000)).toBeLessThan(300)
  })

  it('refuses more than there is', () => {
    expect(() => splitIndices(10, { seed: 0, calibration: 4, tuning: 4, evaluation: 4 })).toThrow(
      /4 \+ 4 \+ 4 = 12 samples, the dataset has 10/,
    )
  })
})
