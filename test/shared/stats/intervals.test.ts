import { describe, expect, it } from 'vitest'
import {
  meanInterval,
  pairedBootstrap,
  pairedErrorFloor,
  ratioInterval,
  seededRandom,
} from '../../../shared/stats/index.ts'

describe('meanInterval', () => {
  it('agrees with SciPy', () => {
    // scipy.stats.t.interval(0.95, 4, loc=mean, scale=sem) of the values below.
    const { mean, lower, upper, standardError } = meanInterval([1, 2, 3, 4, 10])

    expect(mean).toBe(4)
    expect(standardError).toBeCloseTo(1.5811388300841898, 12)
    expect(lower).toBeCloseTo(-0.3899451654254138, 9)
    expect(upper).toBeCloseTo(8.389945165425413, 9)
  })

  it('does not lose the spread of large values', () => {
    expect(meanInterval([1e9, 1e9 + 1, 1e9 + 2]).standardError).toBeCloseTo(1 / Math.sqrt(3), 9)
  })

  it('needs two values', () => {
    expect(() => meanInterval([1])).toThrow(/at least 2/)
  })
})

describe('pairedBootstrap', () => {
  const errors = (seed: number, count: number) => {
    const random = seededRandom(seed)
    return Float64Array.from({ length: count }, () => -Math.log(1 - random()))
  }

  it('is the same for the same seed and has the standard error of the mean', () => {
    const values = errors(1, 400)
    const run = () => pairedBootstrap(values, values, (mean) => mean, seededRandom(2))

    expect(run()).toEqual(run())
    expect(run().standardError / meanInterval(values).standardError).toBeCloseTo(1, 1)
    expect(run().lower).toBeCloseTo(meanInterval(values).lower, 1)
  })

  it('keeps pairs together: a constant ratio has no spread', () => {
    const baseline = errors(3, 50)
    const variant = baseline.map((error) => 2 * error)
    const { estimate, lower, upper } = pairedBootstrap(variant, baseline, (v, b) => v / b, seededRandom(4))

    expect([estimate, lower, upper].map((value) => value.toFixed(9))).toEqual([
      '2.000000000',
      '2.000000000',
      '2.000000000',
    ])
  })

  it('decides a floor on errors three ways', () => {
    const baseline = errors(5, 200)
    const noise = seededRandom(6)
    const scaled = (factor: number) => baseline.map((error) => error * (factor + 0.4 * (noise() - 0.5)))

    expect(pairedErrorFloor(scaled(1), baseline, 0.9, seededRandom(7)).decision).toBe('holds')
    expect(pairedErrorFloor(scaled(1.3), baseline, 0.9, seededRandom(7)).decision).toBe('violated')
    const undecided = pairedErrorFloor(scaled(1.1), baseline, 0.9, seededRandom(7))
    expect(undecided.decision).toBe('undecided')
    expect(undecided.samplesNeeded).toBeGreaterThan(200)
    expect(pairedErrorFloor(baseline, baseline, 1, seededRandom(7))).toMatchObject({
      decision: 'holds',
      basis: 'identity',
    })
  })

  it('judges each side at the stated confidence, which is a two-sided interval at twice the distance from 1', () => {
    const baseline = errors(5, 80)
    const variant = baseline.map((error, index) => error * (1 + 0.1 * (index % 3)))
    const floor = pairedErrorFloor(variant, baseline, 0.9, seededRandom(7), 0.95)
    const ratio = (v: number, b: number) => b / v
    const interval = pairedBootstrap(variant, baseline, ratio, seededRandom(7), { confidence: 0.9 })

    expect(floor.estimate).toBeCloseTo(interval.estimate, 12)
    expect(floor.lower).toBeCloseTo(interval.lower, 12)
    expect(floor.upper).toBeCloseTo(interval.upper, 12)
  })

  it('violates the floor when only the baseline is without error', () => {
    expect(pairedErrorFloor([1, 1, 1], [0, 0, 0], 0.5, seededRandom(8))).toMatchObject({ decision: 'violated' })
    expect(pairedErrorFloor([0, 0, 0], [1, 1, 1], 0.5, seededRandom(8))).toMatchObject({ decision: 'holds' })
  })
})

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
