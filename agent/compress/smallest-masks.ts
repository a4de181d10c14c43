/**
 * Masks of the shapes given: 0 for the `share` of elements of the smallest magnitudes of all tensors together, else 1. Of
 * equal magnitudes at the border those that come first go, so that the share is exact.
 */
export function smallestMasks(tensors: readonly Float32Array[], share: number): readonly Float32Array[] {
  const magnitudes = new Float32Array(tensors.reduce((sum, { length }) => sum + length, 0))
  let to = 0
  for (const values of tensors) for (const value of values) magnitudes[to++] = Math.abs(value)
  // A share is rarely exact in binary: 0.29 of 100 would be 28.
  const count = Math.floor(magnitudes.length * share + 1e-9)
  if (count === 0) return tensors.map(({ length }) => new Float32Array(length).fill(1))
  const border = magnitudes.sort()[count - 1] ?? 0
  let atBorder = count - magnitudes.findIndex((magnitude) => magnitude >= border)
  return tensors.map((values) =>
    values.map((value) => {
      const magnitude = Math.abs(value)
      if (magnitude < border) return 0
      return magnitude === border && atBorder-- > 0 ? 0 : 1
    }),
  )
}

/** `values` with 0 where `mask` has it. */
export function masked(values: Float32Array, mask: Float32Array): Float32Array {
  // Not a product: that of a negative number would be -0, which packs worse.
  return values.map((value, at) => (mask[at] === 0 ? 0 : value))
}
