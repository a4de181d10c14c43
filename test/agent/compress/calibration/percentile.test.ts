import { describe, expect, it } from 'vitest'
import type { Interval } from '../../../../agent/compress/affine.ts'
import { addToHistogram, emptyHistogram } from '../../../../agent/compress/calibration/histogram.ts'
import { percentileRange } from '../../../../agent/compress/calibration/percentile.ts'
import { randomValues } from '../support/graphs.ts'

function rangeOf(values: Float32Array, percentile: number, parts = 1): Interval {
  const histogram = emptyHistogram({ min: Math.min(...values), max: Math.max(...values) })
  const size = Math.ceil(values.length / parts)
  for (let from = 0; from < values.length; from += size) addToHistogram(histogram, values.subarray(from, from + size))
  return percentileRange(histogram, percentile)
}

function shareWithin(values: Float32Array, { min, max }: Interval): number {
  return values.filter((value) => value >= min && value <= max).length / values.length
}

/** Roughly normal. */
function bell(count: number, seed: number): Float32Array {
  const parts = Array.from({ length: 8 }, (_, part) => randomValues(count, seed * 10 + part))
  return Float32Array.from({ length: count }, (_, at) => parts.reduce((sum, part) => sum + (part[at] ?? 0), 0))
}

describe('percentile ranges', () => {
  it.each([90, 99, 99.9, 99.99])('hold %d percent of the values, and not much more', (percentile) => {
    for (const values of [bell(50_000, 1), bell(50_000, 2).map((value) => value + 3)]) {
      const share = shareWithin(values, rangeOf(values, percentile))
      expect(share).toBeGreaterThanOrEqual(percentile / 100)
      expect(share).toBeLessThanOrEqual(percentile / 100 + 0.003)
    }
  })

  it('cut both ends where values lie on both sides of zero', () => {
    const values = bell(50_000, 3)
    const { min, max } = rangeOf(values, 98)
    const below = values.filter((value) => value < min).length / values.length
    const above = values.filter((value) => value > max).length / values.length
    expect(below).toBeCloseTo(0.01, 2)
    expect(above).toBeCloseTo(0.01, 2)
  })

  it('cut only the upper end after a Relu, and by the whole of the rest', () => {
    const values = bell(50_000, 4).map((value) => Math.max(0, value))
    const { min, max } = rangeOf(values, 99)
    expect(min).toBe(0)
    expect(values.filter((value) => value > max).length / values.length).toBeCloseTo(0.01, 2)
  })

  it('cut only the lower end of values that are never positive', () => {
    const values = bell(50_000, 5).map((value) => Math.min(-0.5, value))
    const { min, max } = rangeOf(values, 99)
    expect(max).toBe(-0.5)
    expect(values.filter((value) => value < min).length / values.length).toBeCloseTo(0.01, 2)
  })

  it('keep a crowd at the upper bound, as a Relu6 leaves it', () => {
    const values = bell(10_000, 6).map((value) => Math.min(6, Math.max(0, value * 6)))
    expect(rangeOf(values, 99.9)).toEqual({ min: 0, max: 6 })
  })

  it('ignore a single wild value', () => {
    const values = bell(100_000, 7)
    values[77] = 40
    expect(rangeOf(values, 99.9).max).toBeLessThan(6)
  })

  it('are all there is of a constant, and of nothing but zeros', () => {
    expect(rangeOf(new Float32Array(100).fill(2.5), 99)).toEqual({ min: 2.5, max: 2.5 })
    expect(rangeOf(new Float32Array(100), 99)).toEqual({ min: 0, max: 0 })
  })

  it('do not depend on how the values are divided', () => {
    const values = bell(9973, 8)
    expect(rangeOf(values, 99.5, 7)).toEqual(rangeOf(values, 99.5))
  })
})
