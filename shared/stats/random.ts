import { uniformFloat64 } from 'pure-rand/distribution/uniformFloat64'
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus'

/** A stream of numbers in [0, 1), the same on every machine for the same integer seed. */
export type Random = () => number

/** xoroshiro128+ with 53 random bits a number. */
export function seededRandom(seed: number): Random {
  if (!Number.isInteger(seed)) throw new RangeError(`seed ${seed} is not an integer`)
  const generator = xoroshiro128plus(seed)
  return () => uniformFloat64(generator)
}

/** A shuffled copy (Fisher and Yates); every order is equally likely. */
export function shuffled<Item>(items: Iterable<Item>, random: Random): Item[] {
  const result = [...items]
  for (let last = result.length - 1; last > 0; last -= 1) {
    const chosen = Math.floor(random() * (last + 1))
    const swapped = result[last] as Item
    result[last] = result[chosen] as Item
    result[chosen] = swapped
  }
  return result
}
