import type { Training } from '@edgefit/shared/model'
import { smallestMasks } from '../smallest-masks.ts'
import type { Numbers } from './run-step.ts'

export type Sparsity = NonNullable<Training['sparsity']>

/** The update after which the share does not rise any more. */
export function settledAt({ risesOver }: Sparsity, updates: number): number {
  return Math.max(1, Math.floor(updates * risesOver))
}

/**
 * The share of weights that is to be zero after `update` of `updates`: rises as 1 - (1 - t)³, fast while many weights are
 * of no use (Zhu and Gupta, arXiv 1710.01878, from zero).
 */
export function sparsityAt(sparsity: Sparsity, update: number, updates: number): number {
  const done = Math.min(1, update / settledAt(sparsity, updates))
  return sparsity.final * (1 - (1 - done) ** 3)
}

/**
 * By weight: 0 for the `share` of elements of the smallest magnitudes, 1 for the others. Of equal magnitudes the earlier
 * go first.
 *
 * @param scope `global`: the smallest of all tensors together
 */
export function magnitudeMasks(weights: Numbers, share: number, scope: Sparsity['scope']): Numbers {
  if (scope === 'per-layer') {
    return new Map(
      [...weights].map(([name, values]) => [name, ...smallestMasks([values], share)] as [string, Float32Array]),
    )
  }
  const masks = smallestMasks([...weights.values()], share)
  return new Map([...weights.keys()].map((name, at) => [name, masks[at] ?? new Float32Array()]))
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

/** Zeros of either: what is gone stays gone. */
export function joinedMasks(masks: Numbers, others: Numbers): Numbers {
  return new Map(
    [...masks].map(([name, mask]) => {
      const other = others.get(name)
      return [name, other === undefined ? mask : mask.map((value, at) => value * (other[at] ?? 1))]
    }),
  )
}
