import { describe, expect, it } from 'vitest'
import { earlyStoppingEstimate, minimumQueries, seededRandom, sortedCopy } from '../../../shared/stats/index.ts'

const ascending = (count: number) => Float64Array.from({ length: count }, (_, index) => index + 1)

describe('earlyStoppingEstimate', () => {
  it.each([
    [64, 1],
    [100, 3],
    [200, 10],
    [500, 34],
    [1000, 78],
    [5000, 450],
  ])('p90 of %d queries reports the %d-th slowest', (queries, t) => {
    const estimate = earlyStoppingEstimate(ascending(queries), { percentile: 0.9 })

    expect(estimate).toEqual({ kind: 'bound', bound: queries - t + 1, discarded: t - 1 })
  })

  it.each([
    [0.9, 64],
    [0.95, 130],
    [0.99, 662],
  ])('percentile %d needs %d queries', (percentile, minimumCount) => {
    expect(minimumQueries(percentile)).toBe(minimumCount)
    expect(earlyStoppingEstimate(ascending(minimumCount - 1), { percentile })).toEqual({
      kind: 'too-few',
      minimumCount,
    })
    expect(earlyStoppingEstimate(ascending(minimumCount), { percentile }).kind).toBe('bound')
  })

  it('says how many are needed when there are none', () => {
    expect(earlyStoppingEstimate([], { percentile: 0.9 })).toEqual({ kind: 'too-few', minimumCount: 64 })
  })

  it('bounds the true percentile in at least the stated share of samples', () => {
    const random = seededRandom(3)
    const repeats = 2000
    let held = 0
    for (let repeat = 0; repeat < repeats; repeat += 1) {
      const sorted = sortedCopy(Float64Array.from({ length: 200 }, random))
      const estimate = earlyStoppingEstimate(sorted, { percentile: 0.9, confidence: 0.95 })
      if (estimate.kind === 'bound' && estimate.bound >= 0.9) held += 1
    }

    expect(held / repeats).toBeGreaterThanOrEqual(0.94)
    expect(held / repeats).toBeLessThan(0.99)
  })

  it('refuses a percentile given in percent', () => {
    expect(() => minimumQueries(90)).toThrow(/percentile 90/)
  })
})
