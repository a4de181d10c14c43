import { EdgefitError } from '@edgefit/shared'
import type { Model } from '@edgefit/shared/onnx'
import type { Interval } from '../affine.ts'
import type { PassResult } from '../pass-report.ts'
import { prepareForQuantization } from '../prepare-for-quantization.ts'
import type { Roundings } from '../rounding/roundings.ts'
import { groupParams, tensorsToObserve } from './group-params.ts'
import { type InsertOptions, insertQdq, roundedLayers } from './insert-qdq.ts'
import { planQuantization, type QuantizationPlan } from './plan.ts'

export interface StaticQuantization {
  /** The model to calibrate on: the given one in the form that will be quantized. */
  readonly prepared: Model
  /** Values of `prepared` whose ranges {@link StaticQuantization.apply} wants, exactly these. */
  readonly observe: readonly string[]
  readonly plan: QuantizationPlan
  /**
   * @param roundings of weights that are not to be rounded to nearest
   * @throws EdgefitError RECIPE_INVALID when `ranges` are not those of `observe`.
   */
  apply(ranges: ReadonlyMap<string, Interval>, roundings?: Roundings): PassResult
}

export interface QuantizeStaticOptions extends InsertOptions {
  /** Labels of nodes to leave in float. */
  readonly exclude: readonly string[]
  /** Leave the first convolution in float where it has few inputs an output: the integer kernel is no faster there on x64. */
  readonly floatStem?: boolean | undefined
}

/**
 * Plans static quantization: 8-bit weights and activations with scales fixed by calibration.
 *
 * @throws EdgefitError MODEL_UNSUPPORTED when no layer can be quantized or the opset is too old; RECIPE_INVALID when
 * `exclude` names what is not there; MODEL_INVALID for weights that are not finite.
 */
export function quantizeStatic(model: Model, options: QuantizeStaticOptions): StaticQuantization {
  if (options.weights.type === 'uint8' && options.activations !== 'uint8') {
    throw new EdgefitError(
      'weights.type is uint8 and activations.type is int8, which no kernel of the runtime takes; set activations.type to uint8 or weights.type to int8',
      { code: 'RECIPE_INVALID', details: { field: 'weights.type' } },
    )
  }
  const prepared = prepareForQuantization(model)
  const plan = planQuantization(prepared.graph, options.exclude, options.floatStem)
  return {
    prepared,
    observe: tensorsToObserve(plan),
    plan,
    apply(ranges, roundings = new Map()) {
      const params = groupParams(plan, ranges, options.activations)
      const graph = insertQdq(prepared.graph, plan, params, options, { layers: roundedLayers(roundings) })
      return { model: { ...prepared, graph }, notes: plan.notes }
    },
  }
}
