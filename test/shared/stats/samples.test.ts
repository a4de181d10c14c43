import { describe, expect, it } from 'vitest'
import {
  addSqnr,
  EMPTY_SQNR,
  latencyNoise,
  median,
  nextWarmUp,
  quantile,
  seededRandom,
  shuffled,
  sortedCopy,
  sqnrDb,
  startWarmUp,
} from '../../../shared/stats/index.ts'

describe('quantile', () => {
  it('is the smallest value with that share at or below it', () => {
    const sorted = sortedCopy([30, 10, 20, 40])

    expect([0, 0.25, 0.26, 0.5, 0.9, 1].map((fraction) => quantile(sorted, fraction))).toEqual([10, 10, 20, 20, 40, 40])
  })

  it('is not pushed up by rounding', () => {
    const sorted = Array.from({ length: 100 }, (_, index) => index + 1)

    expect(quantile(sorted, 0.07)).toBe(7)
  })

  it('halves an even sample by the mean of the middle', () => {
    expect(median([1, 2, 4, 9])).toBe(3)
    expect(median([1, 2, 9])).toBe(2)
  })

  it('refuses an empty sample, NaN and percent', () => {
    expect(() => quantile([], 0.5)).toThrow(/empty/)
    expect(() => median([])).toThrow(/empty/)
    expect(() => sortedCopy([1, Number.NaN])).toThrow(/NaN/)
    expect(() => quantile([1], 90)).toThrow(/90/)
  })
})

describe('latencyNoise', () => {
  it('is zero for a constant and unmoved by one outlier', () => {
    expect(latencyNoise([5, 5, 5, 5])).toEqual({ spreadRatio: 0, driftRatio: 0 })
    expect(latencyNoise([5, 5, 500, 5, 5]).spreadRatio).toBe(0)
  })

  it('estimates the coefficient of variation of a normal sample', () => {
    const random = seededRandom(1)
    const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())
    const sample = Array.from({ length: 5000 }, () => 100 + 3 * normal())

    expect(latencyNoise(sample).spreadRatio).toBeCloseTo(0.03, 2)
  })

  it('shows a box that slows down', () => {
    expect(latencyNoise([10, 10, 10, 12, 12, 12]).driftRatio).toBeCloseTo(0.2, 12)
  })
})

describe('warm-up', () => {
  const run = (latencies: readonly number[]) => latencies.reduce(nextWarmUp, startWarmUp({ blockSize: 2, blocks: 3 }))

  it('is steady once the last medians agree', () => {
    const falling = [90, 70, 50, 40, 30, 20]
    const level = [10, 10.1, 10, 10.05, 10.1, 10]

    expect(run(falling).steady).toBe(false)
    expect(run([...falling, ...level.slice(0, 5)]).steady).toBe(false)
    expect(run([...falling, ...level])).toMatchObject({ steady: true, runs: 12 })
  })

  it('is not steady after a difference of the tolerance or more', () => {
    expect(run([100, 100, 100, 100, 102, 102]).steady).toBe(false)
    expect(run([100, 100, 100, 100, 101.9, 101.9]).steady).toBe(true)
  })

  it('leaves the state it was given as it was', () => {
    const start = startWarmUp()
    nextWarmUp(start, 1)

    expect(start).toEqual(startWarmUp())
  })
})

describe('SQNR', () => {
  it('is 20 dB when the error is a tenth of the signal, whichever way it is cut', () => {
    const reference = [1, -2, 3, -4]
    const test = reference.map((value) => value * 1.1)
    const whole = addSqnr(EMPTY_SQNR, reference, test)
    const parts = addSqnr(
      addSqnr(EMPTY_SQNR, reference.slice(0, 1), test.slice(0, 1)),
      reference.slice(1),
      test.slice(1),
    )

    expect(sqnrDb(whole)).toBeCloseTo(20, 9)
    expect(sqnrDb(parts)).toBeCloseTo(sqnrDb(whole), 12)
  })

  it('is infinite for equal signals and refuses unequal lengths', () => {
    expect(sqnrDb(addSqnr(EMPTY_SQNR, [1, 2], [1, 2]))).toBe(Number.POSITIVE_INFINITY)
    expect(sqnrDb(addSqnr(EMPTY_SQNR, [0], [1]))).toBe(Number.NEGATIVE_INFINITY)
    expect(() => addSqnr(EMPTY_SQNR, [1], [1, 2])).toThrow(/2 test values/)
  })
})

describe('seeded random', () => {
  it('repeats for a seed, differs between seeds and stays in [0, 1)', () => {
    const draw = (seed: number) => Array.from({ length: 1000 }, seededRandom(seed))

    expect(draw(0)).toEqual(draw(0))
    expect(draw(0)).not.toEqual(draw(1))
    expect(draw(0).slice(0, 3)).toMatchInlineSnapshot(`
      [
        0.9999999999927239,
        0.7500000074513797,
        0.9688568065183913,
      ]
    `)
    for (const value of draw(0)) expect(value >= 0 && value < 1).toBe(true)
    expect(() => seededRandom(0.5)).toThrow(/not an integer/)
  })

  it('shuffles into every order equally often and keeps the original', () => {
    const random = seededRandom(2)
    const items = [1, 2, 3]
    const orders = new Map<string, number>()
    for (let repeat = 0; repeat < 6000; repeat += 1) {
      const order = shuffled(items, random).join('')
      orders.set(order, (orders.get(order) ?? 0) + 1)
    }

    expect(items).toEqual([1, 2, 3])
    expect(orders.size).toBe(6)
    for (const seen of orders.values()) expect(Math.abs(seen - 1000)).toBeLessThan(130)
  })
})
