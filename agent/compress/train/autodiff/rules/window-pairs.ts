import { elementCount, floatTensor, type Tensor } from '@edgefit/shared/onnx'
import { of, tapsOf, type WindowGeometry } from './window-geometry.ts'

const FEW_PAIRS = 4096

/** Whether a depthwise convolution is fastest as a product over all pairs of a place it reads and one it makes. */
export function hasFewPairs({ large, small }: WindowGeometry): boolean {
  return elementCount(large) * elementCount(small) <= FEW_PAIRS
}

/**
 * Which tap of the kernel joins which pair of places: [places of large · places of small, taps], of ones and zeros, on
 * the spatial axes from `firstAxis` on. A row without a one is a pair that no tap joins.
 */
export function joinedPairs(geometry: WindowGeometry, firstAxis = 0): Tensor {
  const { strides, dilations, padsBegin } = geometry
  const large = geometry.large.slice(firstAxis)
  const places = tapsOf(geometry.small.slice(firstAxis))
  const taps = tapsOf(geometry.kernel.slice(firstAxis))
  const joins = new Float32Array(elementCount(large) * places.length * taps.length)
  for (const [to, place] of places.entries()) {
    for (const [tap, indices] of taps.entries()) {
      const from = large.reduce((flat, length, offset) => {
        const axis = firstAxis + offset
        const start = of(place, offset) * of(strides, axis) - of(padsBegin, axis)
        const at = start + of(indices, offset) * of(dilations, axis)
        return at < 0 || at >= length ? Number.NaN : flat * length + at
      }, 0)
      if (!Number.isNaN(from)) joins[(from * places.length + to) * taps.length + tap] = 1
    }
  }
  return floatTensor('joins', [joins.length / taps.length, taps.length], joins)
}
