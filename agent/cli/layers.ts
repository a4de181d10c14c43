import { EdgefitError } from '@edgefit/shared'
import type { LayerSensitivity, Profile, Recipe, RuntimeSettings } from '@edgefit/shared/model'
import { loadModel, operatorHistogram } from '@edgefit/shared/onnx'
import { quantizationFlavours } from '../compress/index.ts'
import { recipeOf, staticCandidate } from '../search/candidates.ts'
import { orThrow } from '../search/step-error.ts'
import type { DataOptions } from './plan-data.ts'
import { bestRuntime, type LabPorts, withTemporaryLab } from './temporary-lab.ts'

export interface LayerRanking {
  /** Whose layers these are. */
  readonly recipe: Recipe
  /** The best to leave in float first. */
  readonly layers: readonly LayerSensitivity[]
}

/**
 * What each layer loses when it is quantized and what it costs to leave it in float, on this box.
 *
 * @param recipe absent: static int8 in the form this CPU computes fastest
 * @throws EdgefitError MODEL_UNSUPPORTED where there are no two layers to compare
 */
export async function rankedLayers(
  options: DataOptions & { readonly recipe?: Recipe },
  ports: LabPorts,
  signal: AbortSignal,
): Promise<LayerRanking> {
  const { modelPath } = options
  return await withTemporaryLab(
    options,
    ports,
    async (lab, { calibration }) => {
      const recipe =
        options.recipe ??
        (await staticRecipe(modelPath, ports.profile, calibration, await bestRuntime(lab, modelPath, ports, signal)))
      ports.onStep('ranking the layers')
      const { layers } = orThrow('the layers could not be ranked', await lab.rankLayers(recipe, undefined, signal))
      if (layers.length > 0) return { recipe, layers }
      throw new EdgefitError(
        'the recipe quantizes fewer than two layers of this model, so there are none to choose from',
        {
          code: 'MODEL_UNSUPPORTED',
        },
      )
    },
    signal,
  )
}

async function staticRecipe(
  modelPath: string,
  { cpu }: Profile,
  calibrationSamples: number,
  runtime: RuntimeSettings,
): Promise<Recipe> {
  const [flavour] = quantizationFlavours(cpu)
  if (flavour === undefined) throw new RangeError('a CPU without a form of int8')
  const { label, pass } = staticCandidate(flavour, { method: 'minmax', samples: calibrationSamples })
  const operators = operatorHistogram(await loadModel(modelPath))
  return recipeOf({ cpu, operators, calibrationSamples, runtime }, label, [pass])
}
