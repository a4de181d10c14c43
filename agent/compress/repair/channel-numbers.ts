import { EdgefitError } from '@edgefit/shared'

/** Numbers per channel by value name, as a resolved recipe embeds them. */
export type ChannelNumbers = ReadonlyMap<string, ArrayLike<number>>

/** @throws EdgefitError RECIPE_INVALID when `numbers` has a value that is not among `wanted`. */
export function refuseForeignNumbers(numbers: ChannelNumbers, wanted: readonly string[], field: string): void {
  const known = new Set(wanted)
  for (const value of numbers.keys()) if (!known.has(value)) throw foreign(field, value, 'which is not repaired here')
}

/** @throws EdgefitError RECIPE_INVALID when there are none or not one for each channel. */
export function numbersFor(numbers: ChannelNumbers, value: string, channels: number, field: string): Float64Array {
  const found = numbers.get(value)
  if (found === undefined) throw foreign(field, value, 'but not numbers for it')
  if (found.length !== channels) throw foreign(field, value, `with ${found.length} numbers for ${channels} channels`)
  return Float64Array.from(found)
}

function foreign(field: string, value: string, what: string): EdgefitError {
  return new EdgefitError(
    `"${field}" of the recipe speaks of "${value}", ${what}; it was made for another model: remove "${field}" to calibrate again`,
    { code: 'RECIPE_INVALID', details: { field, value } },
  )
}
