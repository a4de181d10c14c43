const HALF_LOG_TWO_PI = 0.9189385332046728
const MAX_FRACTION_TERMS = 20_000
const FRACTION_TOLERANCE = 1e-15
const TINY = 1e-300

/**
 * Natural logarithm of the gamma function for x > 0, relative error below 1e-13.
 *
 * Stirling's series (Abramowitz and Stegun 6.1.41) after raising x to at least 10 by the recurrence 6.1.15.
 */
export function logGamma(x: number): number {
  let shifted = x
  let product = 1
  while (shifted < 10) {
    product *= shifted
    shifted += 1
  }
  const inverse = 1 / shifted
  const square = inverse * inverse
  const series = inverse * (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square * (1 / 1680 - square / 1188))))
  return (shifted - 0.5) * Math.log(shifted) - shifted + HALF_LOG_TWO_PI + series - Math.log(product)
}

/**
 * Regularized incomplete beta function I_x(a, b) for a, b > 0 and x in [0, 1].
 *
 * Continued fraction (Abramowitz and Stegun 26.5.8) by the modified Lentz method, on the side of the mean where it
 * converges fast.
 */
export function regularizedBeta(x: number, a: number, b: number): number {
  if (x <= 0) return 0
  if (x >= 1) return 1
  const logFront = logGamma(a + b) - logGamma(a) - logGamma(b) + a * Math.log(x) + b * Math.log1p(-x)
  const front = Math.exp(logFront)
  if (x <= (a + 1) / (a + b + 2)) return (front / a) * betaFraction(x, a, b)
  return 1 - (front / b) * betaFraction(1 - x, b, a)
}

function betaFraction(x: number, a: number, b: number): number {
  let c = 1
  let d = 1 / awayFromZero(1 - ((a + b) * x) / (a + 1))
  let fraction = d
  for (let m = 1; m <= MAX_FRACTION_TERMS; m += 1) {
    const even = (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m))
    d = 1 / awayFromZero(1 + even * d)
    c = awayFromZero(1 + even / c)
    fraction *= d * c
    const odd = (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1))
    d = 1 / awayFromZero(1 + odd * d)
    c = awayFromZero(1 + odd / c)
    const change = d * c
    fraction *= change
    if (Math.abs(change - 1) < FRACTION_TOLERANCE) return fraction
  }
  throw new RangeError(`the incomplete beta function does not converge at x=${x}, a=${a}, b=${b}`)
}

function awayFromZero(value: number): number {
  return Math.abs(value) < TINY ? TINY : value
}

/**
 * Standard normal quantile for 0 < probability < 1, relative error about 1e-7.
 *
 * Algorithm AS 241, PPND7 (Wichura 1988, Applied Statistics 37, 477-484).
 */
export function normalQuantile(probability: number): number {
  if (!(probability > 0 && probability < 1)) throw new RangeError(`probability ${probability} is not within (0, 1)`)
  const q = probability - 0.5
  if (Math.abs(q) <= 0.425) {
    const r = 0.180625 - q * q
    return (
      (q * (((59.10937472 * r + 159.29113202) * r + 50.434271938) * r + 3.3871327179)) /
      (((67.1875636 * r + 78.757757664) * r + 17.895169469) * r + 1)
    )
  }
  const r = Math.sqrt(-Math.log(Math.min(probability, 1 - probability)))
  return Math.sign(q) * (r <= 5 ? middleTail(r - 1.6) : farTail(r - 5))
}

function middleTail(r: number): number {
  return (
    (((0.17023821103 * r + 1.3067284816) * r + 2.75681539) * r + 1.4234372777) /
    ((0.12021132975 * r + 0.7370016425) * r + 1)
  )
}

function farTail(r: number): number {
  return (
    (((0.017337203997 * r + 0.42868294337) * r + 3.081226386) * r + 6.657905115) /
    ((0.012258202635 * r + 0.24197894225) * r + 1)
  )
}

/** Root of a decreasing function between `low` (value >= 0) and `high` (value <= 0), to the last few bits. */
export function bisect(decreasing: (x: number) => number, low: number, high: number): number {
  let left = low
  let right = high
  for (let step = 0; step < 200; step += 1) {
    const middle = left + (right - left) / 2
    if (middle <= left || middle >= right) break
    if (decreasing(middle) > 0) left = middle
    else right = middle
  }
  return left + (right - left) / 2
}
