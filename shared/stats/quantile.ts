/**
 * The smallest value with at least `fraction` of the sample at or below it (Hyndman and Fan 1996, type 1: the inverse
 * of the empirical distribution), so always a value that was observed. `fraction` 0 is the minimum, 1 the maximum.
 *
 * @param sorted ascending, at least one value, not modified
 */
export function quantile(sorted: ArrayLike<number>, fraction: number): number {
  if (!(fraction >= 0 && fraction <= 1)) throw new RangeError(`quantile ${fraction} is not within [0, 1]`)
  // 0.07 * 100 is 7.000000000000001: without the allowance the 7th of 100 would become the 8th.
  const rank = Math.max(1, Math.ceil(fraction * sorted.length - 1e-9))
  return at(sorted, rank - 1)
}

/** The middle value, or the mean of the two middle ones. `sorted` is ascending, not empty, not modified. */
export function median(sorted: ArrayLike<number>): number {
  const half = Math.floor(sorted.length / 2)
  return sorted.length % 2 === 1 ? at(sorted, half) : (at(sorted, half - 1) + at(sorted, half)) / 2
}

/** An ascending copy. NaN is refused: it has no place in an order. */
export function sortedCopy(sample: ArrayLike<number>): Float64Array {
  const copy = Float64Array.from(sample).sort()
  if (Number.isNaN(copy[copy.length - 1])) throw new RangeError('a sample contains NaN')
  return copy
}

function at(sorted: ArrayLike<number>, index: number): number {
  const value = sorted[index]
  if (value === undefined) throw new RangeError('an empty sample has no quantiles')
  return value
}
