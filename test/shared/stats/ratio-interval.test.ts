import { describe, expect, it } from 'vitest'
import { ratioInterval, seededRandom } from '../../../shared/stats/index.ts'

describe('ratioInterval', () => {
  it('takes the order statistics of the sign test', () => {
    // 10 pairs at 0.95: 2 * BinomCDF(1; 10, 1/2) = 0.0215, so the 2nd smallest and the 2nd largest.
    const candidate = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    const result = ratioInterval(candidate, Array<number>(10).fill(10))

    expect(result?.low).toBeCloseTo(0.2, 12)
    expect(result?.high).toBeCloseTo(0.9, 12)
    expect(result?.ratio).toBeCloseTo(Math.sqrt(0.3), 12)
    expect(result?.pairs).toBe(10)
  })

  it('needs six pairs', () => {
    expect(ratioInterval([1, 1, 1, 1, 1], [1, 1, 1, 1, 1])).toBeUndefined()
    expect(ratioInterval([1, 1, 1, 1, 1, 1], [2, 2, 2, 2, 2, 2])).toMatchObject({ ratio: 0.5, low: 0.5, high: 0.5 })
  })

  it('cancels what both models of a round share, and covers the true ratio', () => {
    const random = seededRandom(9)
    const repeats = 1000
    let covered = 0
    for (let repeat = 0; repeat < repeats; repeat += 1) {
      const load = Array.from({ length: 30 }, () => 1 + 5 * random())
      const baseline = load.map((factor) => 4 * factor * (1 + 0.1 * random()))
      const candidate = load.map((factor) => 2 * factor * (1 + 0.1 * random()))
      const { low, high } = ratioInterval(candidate, baseline) ?? { low: 1, high: 0 }
      expect(high - low).toBeLessThan(0.06)
      if (low <= 0.5 && high >= 0.5) covered += 1
    }

    expect(covered / repeats).toBeGreaterThan(0.94)
  })

  it('refuses a latency of zero by its round', () => {
    expect(() => ratioInterval([1, 0], [1, 1])).toThrow(/round 1/)
    expect(() => ratioInterval([1], [1, 1])).toThrow(/do not pair/)
  })
})
