import { describe, expect, it } from 'vitest'
import { binomialCdf, normalQuantile } from '../../../shared/stats/index.ts'
import { logGamma, regularizedBeta } from '../../../shared/stats/special-functions.ts'

// Reference values: SciPy 1.17.1 (gammaln, betainc, binom.cdf, norm.ppf).
describe('special functions', () => {
  it.each([
    [0.5, 0.5723649429247],
    [1, 0],
    [7.5, 7.534364236758734],
    [1e6, 12815504.569147611],
  ])('logGamma(%d)', (x, expected) => {
    expect(Math.abs(logGamma(x) - expected)).toBeLessThan(1e-13 * Math.max(1, Math.abs(expected)))
  })

  it('is one minus the mirrored beta function', () => {
    for (const [x, a, b] of [
      [0.1, 2, 5],
      [0.73, 40, 12],
      [0.5, 1000, 1000],
    ] as const) {
      expect(regularizedBeta(x, a, b) + regularizedBeta(1 - x, b, a)).toBeCloseTo(1, 12)
    }
    expect(regularizedBeta(0.73, 40, 12)).toBeCloseTo(0.24090708702627905, 12)
  })

  it.each([
    [0.95, 1.6448536269514722],
    [0.975, 1.959963984540054],
    [0.5, 0],
    [0.01, -2.3263478740408408],
    [1e-9, -5.997807015007687],
    [1e-15, -7.941345326170998],
  ])('normalQuantile(%d)', (probability, expected) => {
    expect(normalQuantile(probability)).toBeCloseTo(expected, 5)
  })

  it('refuses a probability of one', () => {
    expect(() => normalQuantile(1)).toThrow(/probability 1/)
  })
})

describe('binomialCdf', () => {
  it('sums the terms of small cases', () => {
    let sum = 0
    let term = 0.7 ** 12
    for (let k = 0; k <= 12; k += 1) {
      sum += term
      expect(binomialCdf(k, 12, 0.3)).toBeCloseTo(sum, 12)
      term *= ((12 - k) / (k + 1)) * (0.3 / 0.7)
    }
  })

  it.each([
    [1000, 10_000, 0.1, 0.5084210392652659],
    [100_000, 1_000_000, 0.1, 0.5008422104052224],
    [78, 1000, 0.1, 0.009867435638683938],
  ])('P(X <= %d), %d trials', (k, n, p, expected) => {
    expect(binomialCdf(k, n, p)).toBeCloseTo(expected, 9)
  })

  it('is 0 below the support and 1 at its end', () => {
    expect(binomialCdf(-1, 5, 0.5)).toBe(0)
    expect(binomialCdf(5, 5, 0.5)).toBe(1)
  })
})
