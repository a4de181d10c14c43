import type { Pass, Recipe, RuntimeSettings } from '@edgefit/shared/model'

export const RUNTIME: RuntimeSettings = { intraOpThreads: 1, allowSpinning: false, memoryArena: true }

export type StaticPass = Extract<Pass, { pass: 'quantize-static' }>

const IS_ARM = process.arch === 'arm64'
const FOLD: Pass = { pass: 'fold-batch-norm' }

/** int8 in the flavour whose kernels are fast here, as the search tries it. */
export function staticPass(calibration: StaticPass['calibration'], perChannel = true): StaticPass {
  return {
    pass: 'quantize-static',
    activations: { type: IS_ARM ? 'int8' : 'uint8' },
    weights: { type: 'int8', perChannel, reducedRange: false },
    calibration,
    exclude: [],
    floatStem: !IS_ARM,
  }
}

function recipeOf(...passes: readonly Pass[]): Recipe {
  return { schemaVersion: 1, passes: [FOLD, ...passes], runtime: RUNTIME }
}

/** By the names under which tables and the reference tool know them. */
export function methodRecipe(method: Method, samples: number): Recipe {
  switch (method) {
    case 'minmax':
    case 'entropy':
    case 'mse':
      return recipeOf(staticPass({ method, samples }))
    case 'percentile':
      return recipeOf(staticPass({ method, percentile: 99.99, samples }))
    case 'dynamic':
      return recipeOf({
        pass: 'quantize-dynamic',
        weights: { type: 'int8', perChannel: true, reducedRange: false },
        exclude: [],
      })
  }
}

export type Method = 'minmax' | 'percentile' | 'entropy' | 'mse' | 'dynamic'

/** What per-tensor weights lose, and what wins it back. */
export function repairRecipes(samples: number): ReadonlyMap<string, Recipe> {
  const tensor = staticPass({ method: 'minmax', samples }, false)
  const bias: Pass = { pass: 'correct-bias', samples: Math.min(samples, 100) }
  const keep: Pass = { pass: 'equalize', clips: 'keep' }
  const replace: Pass = { pass: 'equalize', clips: 'replace' }
  const rounded: Pass = {
    ...tensor,
    rounding: { method: 'adaptive', samples: Math.min(samples, 128), iterations: 300, seed: 0 },
  }
  return new Map([
    ['per-tensor weights', recipeOf(tensor)],
    ['+ equalize', recipeOf(keep, tensor)],
    ['+ correct-bias', recipeOf(tensor, bias)],
    ['+ both', recipeOf(keep, tensor, bias)],
    ['+ both, clips replaced', recipeOf(replace, tensor, bias)],
    ['+ adaptive rounding', recipeOf(rounded)],
    ['+ adaptive rounding, correct-bias', recipeOf(rounded, bias)],
    ['per-channel weights', recipeOf(staticPass({ method: 'minmax', samples }))],
  ])
}
