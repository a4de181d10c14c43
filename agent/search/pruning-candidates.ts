import type { Pass, Recipe } from '@edgefit/shared/model'
import { quantizationFlavours } from '../compress/index.ts'
import { type CandidateInput, recipeOf, staticCandidate } from './candidates.ts'

/** Of the latency. No more than the last: without training after it, pruning soon costs much accuracy. */
const SAVED_SHARES = [0.1, 0.2, 0.35]

/** Outputs that pruning is judged by. */
const JUDGED_SAMPLES = 64

export interface PruningCandidate {
  /** How much of the latency is to go, of that of the same recipe without pruning. */
  readonly savedShare: number
  readonly recipe: Recipe
}

/**
 * Recipes to try where quantization alone did not meet the objective, gentlest first: channels that cost more time than
 * they are worth are removed, in float32 and, for the same saving, quantized after that. Empty for a model without
 * convolutions or products, whose layers are the ones that have channels.
 */
export function pruningCandidates(input: CandidateInput): PruningCandidate[] {
  const { operators, calibrationSamples } = input
  const count = (type: string) => operators.get(type) ?? 0
  if (count('Conv') + count('Gemm') + count('MatMul') === 0) return []
  const quantized = quantizationFlavours(input.cpu)
    .slice(0, 1)
    .map((flavour) => staticCandidate(flavour, { method: 'mse', samples: calibrationSamples }))
  return SAVED_SHARES.flatMap((savedShare) => {
    const label = `pruned to save ${Math.round(100 * savedShare)} %`
    const prune: Pass = {
      pass: 'prune-channels',
      target: { by: 'saved-share', savedShare, steps: 10, samples: Math.min(JUDGED_SAMPLES, calibrationSamples) },
      importance: 'l2',
      exclude: [],
    }
    return [
      { savedShare, recipe: recipeOf(input, label, [prune]) },
      ...quantized.map(({ label: how, pass }) => ({
        savedShare,
        recipe: recipeOf(input, `${label}, ${how}`, [prune, pass]),
      })),
    ]
  })
}
