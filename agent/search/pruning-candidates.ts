import type { Pass, Recipe, RuntimeSettings } from '@edgefit/shared/model'
import { quantizationFlavours } from '../compress/index.ts'
import type { CandidateInput } from './candidates.ts'

/** Of the latency: without training after it, pruning soon costs much accuracy. */
export const LARGEST_SAVED_SHARE = 0.35
const SAVED_SHARES = [0.1, 0.2, LARGEST_SAVED_SHARE]

/** Outputs that pruning is judged by. */
const JUDGED_SAMPLES = 64

/**
 * Recipes to try where quantization alone did not meet the objective, gentlest first: channels that cost more time than
 * they are worth are removed, in float32 and, for the same saving, quantized after that. Empty for a model without
 * convolutions or products, whose layers are the ones that have channels.
 */
export function pruningCandidates({ cpu, operators, calibrationSamples, runtime }: CandidateInput): Recipe[] {
  const count = (type: string) => operators.get(type) ?? 0
  if (count('Conv') + count('Gemm') + count('MatMul') === 0) return []
  const fold: Pass[] = count('BatchNormalization') > 0 ? [{ pass: 'fold-batch-norm' }] : []
  const quantized = quantizationFlavours(cpu)
    .slice(0, 1)
    .map(({ name, activations, weights }) => ({
      label: `static int8 ${name}, mse`,
      pass: {
        pass: 'quantize-static',
        activations,
        weights: { ...weights, perChannel: true },
        calibration: { method: 'mse', samples: calibrationSamples },
        exclude: [],
      } satisfies Pass,
    }))
  return SAVED_SHARES.flatMap((savedShare) => {
    const label = `pruned to save ${Math.round(100 * savedShare)} %`
    const prune: Pass = {
      pass: 'prune-channels',
      target: { by: 'saved-share', savedShare, steps: 10, samples: Math.min(JUDGED_SAMPLES, calibrationSamples) },
      importance: 'l2',
      exclude: [],
    }
    const pruned = [...fold, prune]
    return [
      recipe(label, pruned, runtime),
      ...quantized.map(({ label: how, pass }) => recipe(`${label}, ${how}`, [...pruned, pass], runtime)),
    ]
  })
}

function recipe(label: string, passes: Pass[], runtime: RuntimeSettings): Recipe {
  return { schemaVersion: 1, label, passes, runtime }
}
