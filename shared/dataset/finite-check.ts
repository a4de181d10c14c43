import { EdgefitError } from '../errors.ts'
import type { NpyHeader } from './npy.ts'
import { type ElementType, elementSizeBytes, productOf } from './tensor-array.ts'

/** Exponent bits within the last two bytes of a little-endian element: all set means NaN or infinite (IEEE 754). */
const EXPONENTS: Partial<Record<ElementType, readonly [low: number, high: number]>> = {
  float16: [0x00, 0x7c],
  float32: [0x80, 0x7f],
  float64: [0xf0, 0x7f],
}

/**
 * Looks at the bytes of one .npy file as they pass by, in pieces of any size.
 *
 * @returns a function to call with each piece in order
 * @throws EdgefitError (from that function) DATASET_INVALID naming array and row of the first value that is NaN or
 * infinite
 */
export function finiteCheck({ name, dtype, shape, dataOffset }: NpyHeader): (piece: Uint8Array) => void {
  const mask = EXPONENTS[dtype]
  if (mask === undefined) return () => undefined
  const [lowMask, highMask] = mask
  const sizeBytes = elementSizeBytes(dtype)
  const rowElements = productOf(shape.slice(1))
  let passed = -dataOffset
  let previous = 0
  return (piece) => {
    const firstEnd = (sizeBytes - 1 - passed) % sizeBytes
    const start = passed < 0 ? sizeBytes - 1 - passed : (firstEnd + sizeBytes) % sizeBytes
    for (let at = start; at < piece.length; at += sizeBytes) {
      const low = (at > 0 ? piece[at - 1] : previous) ?? 0
      const high = piece[at] ?? 0
      if ((high & highMask) === highMask && (low & lowMask) === lowMask) {
        const row = Math.floor((passed + at) / sizeBytes / rowElements)
        throw new EdgefitError(
          `array "${name}" has a NaN or infinite value in row ${row}; drop the row or replace the value ` +
            '(np.nan_to_num) before saving',
          { code: 'DATASET_INVALID', details: { array: name, row } },
        )
      }
    }
    passed += piece.length
    previous = piece.at(-1) ?? previous
  }
}
