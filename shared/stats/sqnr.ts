/** Running sums of a signal-to-quantization-noise ratio. Start from {@link EMPTY_SQNR}. */
export interface SqnrSums {
  readonly signal: number
  readonly noise: number
}

export const EMPTY_SQNR: SqnrSums = { signal: 0, noise: 0 }

/** Adds a stretch of the reference and the test signal; both have the same length and are not modified. */
export function addSqnr(sums: SqnrSums, reference: ArrayLike<number>, test: ArrayLike<number>): SqnrSums {
  if (reference.length !== test.length) {
    throw new RangeError(`${test.length} test values do not pair with ${reference.length} reference values`)
  }
  let { signal, noise } = sums
  for (let index = 0; index < reference.length; index += 1) {
    const expected = reference[index] ?? Number.NaN
    signal += expected * expected
    noise += (expected - (test[index] ?? Number.NaN)) ** 2
  }
  return { signal, noise }
}

/**
 * 10 log10(sum ref^2 / sum (ref - test)^2). Infinity when the signals are equal, -Infinity when a zero signal has
 * noise.
 */
export function sqnrDb({ signal, noise }: SqnrSums): number {
  return noise === 0 ? Number.POSITIVE_INFINITY : 10 * Math.log10(signal / noise)
}
