import { EdgefitError } from '@edgefit/shared'
import { elementCount, type Tensor } from '@edgefit/shared/onnx'

/**
 * A bit for each weight of a tensor, row-major, set where it takes the next step up and not the one down. The first is the
 * lowest of the first byte.
 */
export type RoundUp = Uint8Array

/** By name of the weights. Those of other tensors go to the nearest step. */
export type Roundings = ReadonlyMap<string, RoundUp>

export function isUp(roundUp: RoundUp, index: number): boolean {
  return (((roundUp[index >> 3] ?? 0) >> (index & 7)) & 1) === 1
}

export function roundUpWhere(count: number, isUpAt: (index: number) => boolean): RoundUp {
  const bits = new Uint8Array(Math.ceil(count / 8))
  for (let index = 0; index < count; index++) {
    if (isUpAt(index)) bits[index >> 3] = (bits[index >> 3] ?? 0) | (1 << (index & 7))
  }
  return bits
}

/** As a resolved recipe has them. */
export function embeddedRoundings(roundings: Roundings): Readonly<Record<string, string>> {
  return Object.fromEntries([...roundings].map(([weights, bits]) => [weights, Buffer.from(bits).toString('base64')]))
}

/**
 * The roundings that a recipe embeds.
 *
 * @param quantized the tensors that the pass quantizes
 * @throws EdgefitError RECIPE_INVALID when one is for other weights than these, or of another length.
 */
export function readRoundings(embedded: Readonly<Record<string, string>>, quantized: Iterable<Tensor>): Roundings {
  const tensors = new Map([...quantized].map((tensor) => [tensor.name, tensor]))
  return new Map(
    Object.entries(embedded).map(([weights, text]) => {
      const tensor = tensors.get(weights)
      if (tensor === undefined) throw foreign(weights, 'which are not quantized here')
      const bits = new Uint8Array(Buffer.from(text, 'base64'))
      const count = elementCount(tensor.dims)
      if (bits.length !== Math.ceil(count / 8)) {
        throw foreign(weights, `with ${bits.length} bytes of bits for ${count} weights`)
      }
      return [weights, bits]
    }),
  )
}

function foreign(weights: string, what: string): EdgefitError {
  return new EdgefitError(
    `"roundings" of the recipe speaks of weights "${weights}", ${what}; it was made for another model or other settings: ` +
      'remove "roundings" to find them again',
    { code: 'RECIPE_INVALID', details: { field: 'roundings', weights } },
  )
}
