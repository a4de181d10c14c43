import { describe, expect, it } from 'vitest'
import { entropyRange, windowDivergence } from '../../../../agent/compress/calibration/entropy.ts'
import { addToHistogram, emptyHistogram, type Histogram } from '../../../../agent/compress/calibration/histogram.ts'
import { randomValues } from '../support/graphs.ts'

function histogram(min: number, max: number, counts: readonly number[]): Histogram {
  return { range: { min, max }, counts: Float64Array.from(counts) }
}

/** The definition, step by step and with arrays. */
function plainDivergence(counts: readonly number[], low: number, high: number, levels: number): number {
  const window = counts.slice(low, high)
  const p = [...window]
  p[0] = (p[0] ?? 0) + counts.slice(0, low).reduce((a, b) => a + b, 0)
  p[p.length - 1] = (p.at(-1) ?? 0) + counts.slice(high).reduce((a, b) => a + b, 0)
  const level = (bin: number) => {
    let found = 0
    while (bin >= Math.floor(((found + 1) * window.length) / levels)) found++
    return found
  }
  const q = window.map((_, bin) => {
    const mates = [...window.keys()].filter((other) => level(other) === level(bin) && (p[other] ?? 0) > 0)
    return mates.reduce((sum, other) => sum + (window[other] ?? 0), 0) / mates.length
  })
  const total = p.reduce((a, b) => a + b, 0)
  const kept = window.reduce((a, b) => a + b, 0)
  return p.reduce((sum, count, bin) => {
    const share = count / total
    const quantized = Math.max((q[bin] ?? 0) / kept, 1e-4 / window.length)
    return share === 0 ? sum : sum + share * Math.log(share / quantized)
  }, 0)
}

const SLOPE = Array.from({ length: 32 }, (_, bin) => Math.round(400 * Math.exp(-bin / 6)) + (bin % 3))

describe('entropy ranges', () => {
  it('measure the divergence as it is defined', () => {
    const bins = Float64Array.from(SLOPE)
    for (const [low, high, levels] of [
      [0, 32, 8],
      [0, 9, 8],
      [3, 29, 5],
      [0, 20, 20],
    ] as const) {
      const found = windowDivergence(bins, bins, levels)(low, high)
      expect(found).toBeCloseTo(plainDivergence(SLOPE, low, high, levels), 10)
      expect(found).toBeGreaterThanOrEqual(0)
    }
  })

  it('measure it alike where bins are empty, those at the ends of the window too', () => {
    const sparse = SLOPE.map((count, bin) => ([0, 1, 5, 6, 7, 20, 31].includes(bin) ? 0 : count)).concat(0, 7, 0)
    const bins = Float64Array.from(sparse)
    const divergence = windowDivergence(bins, bins, 5)
    for (let low = 0; low < 8; low++) {
      for (let high = low + 5; high <= sparse.length; high++) {
        expect(divergence(low, high)).toBeCloseTo(plainDivergence(sparse, low, high, 5), 10)
      }
    }
  })

  it('lose nothing where every bin has a step of its own and nothing is cut off', () => {
    const bins = Float64Array.from(SLOPE)
    expect(windowDivergence(bins, bins, 32)(0, 32)).toBeCloseTo(0, 12)
  })

  it('choose the best of all windows that start at 0 after a Relu', () => {
    const counts = [0, ...SLOPE.slice(1), ...Array<number>(31).fill(0), 1]
    const levels = 8
    const [best = 0] = Array.from({ length: counts.length - levels + 1 }, (_, at) => at + levels).sort(
      (a, b) => plainDivergence(counts, 0, a, levels) - plainDivergence(counts, 0, b, levels),
    )
    const found = entropyRange(histogram(0, 64, [50_000, ...counts.slice(1)]), levels)
    expect(found).toEqual({ min: 0, max: best })
    expect(best).toBeLessThan(40)
  })

  it('cut off a ten-thousandth of the values at most, even where more would lose less', () => {
    const counts = Array.from({ length: 2048 }, (_, bin) => Math.round(100_000 * Math.exp(-bin / 40)) + (bin % 2))
    const total = counts.reduce((a, b) => a + b, 0)
    const body = Float64Array.from(counts)
    const losses = windowDivergence(body, body, 64)
    const cutBy = (high: number) => counts.slice(high).reduce((a, b) => a + b, 0) / total
    const best = counts.map((_, at) => at + 1).filter((high) => high >= 64 && cutBy(high) > 1e-4)
    const { max } = entropyRange(histogram(0, 2048, counts), 64)

    expect(cutBy(max)).toBeLessThanOrEqual(1e-4)
    expect(cutBy(max)).toBeGreaterThan(0)
    expect(Math.min(...best.map((high) => losses(0, high)))).toBeLessThan(losses(0, max))
  })

  it('are not shortened by a background, a bound or the zeros of a Relu', () => {
    const even = Array<number>(256).fill(10)
    const peaked = even.map((count, bin) => ([0, 40, 97, 255].includes(bin) ? 2000 : count))
    expect(entropyRange(histogram(0, 1, even), 32)).toEqual({ min: 0, max: 1 })
    expect(entropyRange(histogram(0, 1, peaked), 32)).toEqual({ min: 0, max: 1 })
  })

  it('cut both sides of zero at one distance, within what was observed', () => {
    const own = emptyHistogram({ min: -1.5, max: 3 })
    addToHistogram(own, randomValues(60_000, 4).fill(3, 0, 1).fill(-1.5, 1, 2))
    const { min, max } = entropyRange(own, 256)
    expect(max).toBeLessThan(2)
    expect(min).toBeGreaterThanOrEqual(-1.5)
    expect(min).toBeCloseTo(Math.max(-1.5, -max), 2)
  })

  it.each([
    ['one value', histogram(3, 3, [0, 0])],
    ['more steps than bins', histogram(-1, 1, [3, 2, 9, 1])],
  ])('are what was observed for %s', (_, own) => {
    expect(entropyRange(own, 256)).toEqual(own.range)
  })

  it('mirror for values below zero', () => {
    const levels = 8
    const above = histogram(0, 32, SLOPE)
    const below = histogram(-32, 0, SLOPE.toReversed())
    // The bin of 0 belongs to either side: only the upper edges differ.
    expect(-entropyRange(below, levels).min).toBe(entropyRange(above, levels).max)
  })
})
