import { seededRandom } from '@edgefit/shared/stats'
import { describe, expect, it } from 'vitest'
import { type AxisAlgorithm, axisAlgorithms } from '../../../../../agent/compress/train/step/minimal-products.ts'

const random = seededRandom(1)
const values = (count: number): readonly number[] => Array.from({ length: count }, () => random() * 2 - 1)
const dot = (left: readonly number[], right: readonly number[]): number =>
  left.reduce((sum, value, at) => sum + value * (right[at] ?? 0), 0)

function computed({ into, kernel, out }: AxisAlgorithm, x: readonly number[], w: readonly number[]): readonly number[] {
  const products = into.map((row, at) => dot(row, x) * dot(kernel[at] ?? [], w))
  return out.map((row) => dot(row, products))
}

describe('an axis algorithm', () => {
  it.each([
    [1, 1],
    [2, 1],
    [3, 1],
    [4, 1],
    [7, 1],
    [9, 1],
    [12, 1],
    [1, 2],
    [2, 2],
    [3, 2],
    [5, 2],
    [4, 3],
    [2, 4],
  ])('computes a convolution of %i taps and stride %i', (taps, stride) => {
    const algorithms = axisAlgorithms(taps, stride)

    expect(algorithms.map(({ outputs }) => outputs)).toEqual(algorithms.map((_, at) => at + 1))
    for (const algorithm of algorithms) {
      const [x, w] = [values(stride * (algorithm.outputs - 1) + taps), values(taps)]
      const y = computed(algorithm, x, w)

      expect(algorithm.into.length).toBe(algorithm.products)
      expect(new Set(algorithm.into.map((row) => row.length))).toEqual(new Set([x.length]))
      for (const [at, value] of y.entries()) expect(value).toBeCloseTo(dot(w, x.slice(at * stride)), 9)
    }
  })

  it.each([
    { taps: 3, stride: 1, outputs: 4, products: 6 },
    { taps: 3, stride: 1, outputs: 7, products: 10 },
    { taps: 5, stride: 1, outputs: 2, products: 6 },
    { taps: 3, stride: 2, outputs: 7, products: 16 },
    { taps: 1, stride: 2, outputs: 3, products: 3 },
  ])(
    'takes $products products for $outputs outputs of $taps taps, stride $stride',
    ({ taps, stride, outputs, products }) => {
      expect(axisAlgorithms(taps, stride)[outputs - 1]?.products).toBe(products)
    },
  )

  it.each([3, 5])('of %i taps loses few of the digits of float32', (taps) => {
    for (const { into, kernel, out } of axisAlgorithms(taps, 1)) {
      // An error of one digit in each product: its root mean square in the outputs, for numbers of variance 1.
      const gain = out.map((row) =>
        Math.sqrt(
          row.reduce(
            (sum, value, at) =>
              sum + value ** 2 * dot(into[at] ?? [], into[at] ?? []) * dot(kernel[at] ?? [], kernel[at] ?? []),
            0,
          ),
        ),
      )

      expect(Math.max(...gain) / Math.sqrt(taps)).toBeLessThan(6)
    }
  })
})
