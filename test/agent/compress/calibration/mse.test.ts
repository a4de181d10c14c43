import { describe, expect, it } from 'vitest'
import {
  asymmetricParams,
  dequantize,
  FULL_RANGE,
  type Interval,
  quantizeInto,
} from '../../../../agent/compress/affine.ts'
import { binsInterval, type Histogram } from '../../../../agent/compress/calibration/histogram.ts'
import { mseRange, quantizationErrors } from '../../../../agent/compress/calibration/mse.ts'
import { randomValues } from '../support/graphs.ts'

function histogram(min: number, max: number, counts: readonly number[]): Histogram {
  return { range: { min, max }, counts: Float64Array.from(counts) }
}

/** By quantizing many values from each bin with the kernels' own arithmetic. */
function measuredError({ range, counts }: Histogram, interval: Interval, integers: Interval): number {
  const params = asymmetricParams(interval, integers)
  const width = (range.max - range.min) / counts.length
  const perBin = 400
  let error = 0
  let total = 0
  for (const [bin, count] of counts.entries()) {
    const values = Float32Array.from({ length: perBin }, (_, at) => range.min + (bin + (at + 0.5) / perBin) * width)
    const quantized = new Int8Array(perBin)
    quantizeInto(quantized, values, params, integers)
    error += count * values.reduce((sum, value, at) => sum + (value - dequantize(quantized[at] ?? 0, params)) ** 2, 0)
    total += count * perBin
  }
  return error / total
}

const FOUR_BITS: Interval = { min: -8, max: 7 }

function bell(bins: number, centre: number, width: number): number[] {
  return Array.from({ length: bins }, (_, bin) => Math.round(1000 * Math.exp(-(((bin - centre) / width) ** 2))))
}

describe('the error of quantizing a histogram', () => {
  it.each([
    ['within', { min: -1, max: 2 }],
    ['cut off above', { min: -1, max: 0.8 }],
    ['cut off below', { min: -0.3, max: 2 }],
    ['cut off on both sides', { min: -0.2, max: 0.4 }],
  ])('is what the kernels make of its values, %s', (_, interval) => {
    const own = histogram(-1, 2, [...bell(40, 12, 9), 3, 0, 0, 1])
    for (const integers of [FOUR_BITS, { min: -4, max: 3 }, FULL_RANGE.int8]) {
      const expected = measuredError(own, interval, integers)
      expect(quantizationErrors(own, integers)(interval) / expected).toBeCloseTo(1, 2)
    }
  })

  it('is a twelfth of the squared step for values spread evenly', () => {
    const own = histogram(0, 255, Array<number>(510).fill(1))
    expect(quantizationErrors(own, FULL_RANGE.uint8)(own.range)).toBeCloseTo(1 / 12, 10)
  })
})

describe('ranges of least squared error', () => {
  const oneSided = [histogram(0, 10, [...bell(50, 0, 8), ...Array<number>(13).fill(0), 4])]
  const twoSided = [1, 2, 3].map((seed) => {
    const noise = [...randomValues(64, seed, 20)].map((value) => Math.round(Math.abs(value)))
    return histogram(
      -3,
      5,
      bell(64, 20 + 4 * seed, 3 * seed).map((count, bin) => count + (noise[bin] ?? 0)),
    )
  })

  it.each([...oneSided, ...twoSided].map((own, at) => [at, own] as const))(
    'are about as good as the best of all, histogram %d',
    (_, own) => {
      const bins = own.counts.length
      let best = Number.POSITIVE_INFINITY
      for (let low = 0; low < bins; low++) {
        for (let high = low + 1; high <= bins; high++) {
          const interval = binsInterval(own, low, high)
          if (interval.min > 0 || interval.max < 0) continue
          best = Math.min(best, quantizationErrors(own, FOUR_BITS)(interval))
        }
      }
      const found = mseRange(own, FOUR_BITS)
      expect(quantizationErrors(own, FOUR_BITS)(found)).toBeLessThanOrEqual(best * 1.01)
      expect(best).toBeLessThan(quantizationErrors(own, FOUR_BITS)(own.range) * 0.95)
    },
  )

  it('keep the end at 0 after a Relu and cut off rare outliers', () => {
    const { min, max } = mseRange(oneSided[0] ?? histogram(0, 1, [1]), FOUR_BITS)
    expect(min).toBe(0)
    expect(max).toBeLessThan(6.5)
  })

  it('cut nothing off where values are spread evenly', () => {
    const own = histogram(-1, 1, Array<number>(64).fill(5))
    const found = mseRange(own, FULL_RANGE.int8)
    expect(found.max - found.min).toBeGreaterThan(1.9)
  })

  it.each([
    ['one value', histogram(0.5, 0.5, [0, 0])],
    ['no values', histogram(-1, 1, [0, 0])],
  ])('are what was observed for %s', (_, own) => {
    expect(mseRange(own, FULL_RANGE.uint8)).toEqual(own.range)
  })
})
