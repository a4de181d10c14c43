import type { Training } from '@edgefit/shared/model'
import type { Numbers } from './run-step.ts'

export type Sparsity = NonNullable<Training['sparsity']>

/**
 * The share of weights that is to be zero after `update` of `updates`: rises as 1 - (1 - t)³, fast while many weights are
 * of no use (Zhu and Gupta, arXiv 1710.01878, from zero).
 */
export function sparsityAt({ final, risesOver }: Sparsity, update: number, updates: number): number {
  const done = Math.min(1, update / Math.max(1, Math.floor(updates * risesOver)))
  return final * (1 - (1 - done) ** 3)
}

/**
 * By weight: 0 for the `share` of elements of the smallest magnitudes, 1 for the others. Of equal magnitudes the earlier
 * go first.
 *
 * @param scope `global`: the smallest of all tensors together
 */
export function magnitudeMasks(weights: Numbers, share: number, scope: Sparsity['scope']): Numbers {
  if (scope === 'per-layer') {
    return new Map([...weights].map(([name, values]) => [name, ...masksOf([values], share)] as [string, Float32Array]))
  }
  const masks = masksOf([...weights.values()], share)
  return new Map([...weights.keys()].map((name, at) => [name, masks[at] ?? new Float32Array()]))
}

function masksOf(tensors: readonly Float32Array[], share: number): readonly Float32Array[] {
  const magnitudes = new Float32Array(tensors.reduce((sum, { length }) => sum + length, 0))
  let offset = 0
  for (const values of tensors) for (const value of values) magnitudes[offset++] = Math.abs(value)
  const zeros = Math.floor(magnitudes.length * share)
  const limit = zeros === 0 ? -1 : (magnitudes.slice().sort()[zeros - 1] ?? 0)
  let below = 0
  for (const value of magnitudes) if (value < limit) below++
  let ties = zeros - below
  return tensors.map((values) =>
    values.map((value) => {
      const magnitude = Math.abs(value)
      if (magnitude < limit) return 0
      return magnitude === limit && ties-- > 0 ? 0 : 1
    }),
  )
}

/** By weight that has zeros, and not only zeros: 0 where it is zero. What an earlier pass removed is to stay away. */
export function zeroMasks(weights: Numbers): Numbers {
  const masks = new Map<string, Float32Array>()
  for (const [name, values] of weights) {
    const mask = values.map((value) => (value === 0 ? 0 : 1))
    if (mask.includes(0) && mask.includes(1)) masks.set(name, mask)
  }
  return masks
}
