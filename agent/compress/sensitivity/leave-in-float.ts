import { EdgefitError } from '@edgefit/shared'
import type { LayerNoise } from './layer-noise.ts'
import type { StaticPass } from './layer-quantizer.ts'

type Rule = NonNullable<StaticPass['leaveInFloat']>

/**
 * Labels of the layers that a recipe wants left in float, loudest first.
 *
 * By noise alone, without the milliseconds that a search weighs it with: those differ from run to run, and a recipe has
 * one result.
 *
 * @throws EdgefitError RECIPE_INVALID when none would be left to quantize.
 */
export function layersToLeave(noise: readonly LayerNoise[], rule: Rule): readonly string[] {
  const sorted = [...noise].sort((a, b) => b.noiseRatio - a.noiseRatio)
  const chosen =
    rule.by === 'noise' ? sorted.slice(0, rule.layers) : sorted.filter(({ sqnrDb }) => sqnrDb < rule.belowDb)
  if (chosen.length < noise.length) return chosen.map(({ layer }) => layer)
  const given = rule.by === 'noise' ? `layers ${rule.layers}` : `belowDb ${rule.belowDb}`
  throw new EdgefitError(
    `leaveInFloat: ${given} leaves none of the ${noise.length} layers to quantize; lower it, or leave quantize-static out`,
    { code: 'RECIPE_INVALID', details: { layers: noise.length } },
  )
}
