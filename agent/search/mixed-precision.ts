import type { LayerSensitivity, Pass, Recipe } from '@edgefit/shared/model'
import { fasterInFloat, isLayerPass } from '../compress/index.ts'

const LABEL_LIMIT = 120

export function hasLayerPass({ passes }: Recipe): boolean {
  return passes.some(isLayerPass)
}

/** The recipe with `layers` left in float by its last pass that quantizes layer by layer. */
export function withLayersInFloat(recipe: Recipe, layers: readonly string[]): Recipe {
  const at = recipe.passes.findLastIndex(isLayerPass)
  const passes = recipe.passes.map(
    (pass, index): Pass =>
      index === at && isLayerPass(pass) ? { ...pass, exclude: [...pass.exclude, ...layers] } : pass,
  )
  return {
    ...recipe,
    passes,
    ...withLabel(recipe, `${layers.length} ${layers.length === 1 ? 'layer' : 'layers'} in float`),
  }
}

/**
 * The recipe with its accuracy repaired otherwise: means after quantization corrected, and that after the ranges of
 * adjacent layers were made equal. Both leave every layer quantized, so they cost no time.
 */
export function repairedRecipes(recipe: Recipe): readonly Recipe[] {
  const at = recipe.passes.findIndex(({ pass }) => pass === 'quantize-static')
  const pass = recipe.passes[at]
  if (pass?.pass !== 'quantize-static' || recipe.passes.some(({ pass: name }) => name === 'correct-bias')) return []
  const correction: Pass = { pass: 'correct-bias', samples: Math.min(BIAS_SAMPLES, pass.calibration.samples) }
  const before = recipe.passes.slice(0, at)
  const after = recipe.passes.slice(at)
  return [
    { ...recipe, passes: [...before, ...after, correction], ...withLabel(recipe, 'bias corrected') },
    {
      ...recipe,
      passes: [...before, { pass: 'equalize', clips: 'keep' }, ...after, correction],
      ...withLabel(recipe, 'equalized, bias corrected'),
    },
  ]
}

const BIAS_SAMPLES = 100

/**
 * How many of a ranking's layers can sensibly be left in float: those that are faster there, which every mixed recipe has,
 * up to all whose time was measured, but never all that there are.
 */
export function sizesOf(ranking: readonly LayerSensitivity[]): { readonly always: number; readonly most: number } {
  const timed = ranking.filter(({ lostMs }) => lostMs !== null).length
  const most = Math.max(0, Math.min(timed, ranking.length - 1))
  return { always: Math.min(fasterInFloat(ranking), most), most }
}

function withLabel({ label }: Recipe, what: string): { readonly label?: string } {
  return label === undefined ? {} : { label: `${label}, ${what}`.slice(0, LABEL_LIMIT) }
}
