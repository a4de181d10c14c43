import type { Pass } from '@edgefit/shared/model'
import type { Model } from '@edgefit/shared/onnx'
import type { PassResult } from '../pass-report.ts'
import { applyStatic } from '../quantize-static/apply-static.ts'
import { notesOn, type TrainingContext, trainWith } from './apply-training.ts'
import { quantizationAware } from './quantized/quantization-aware.ts'

type QuantizeAwarePass = Extract<Pass, { pass: 'quantize-aware' }>
/** Samples and a listener, for calibration. */
type CalibrationArguments = Parameters<typeof applyStatic> extends [unknown, unknown, ...infer Rest] ? Rest : never

/**
 * Trains a float32 model for static quantization, and quantizes it.
 *
 * @throws EdgefitError what `applyStatic` and `train` throw.
 */
export async function applyQuantizeAware(
  model: Model,
  pass: QuantizeAwarePass,
  context: TrainingContext,
  ...calibrating: CalibrationArguments
): Promise<{ readonly resolved: QuantizeAwarePass; readonly result: PassResult }> {
  const { training, weightScales, activationRanges, ...settings } = pass
  const { resolved } = await applyStatic(model, { ...settings, pass: 'quantize-static' }, ...calibrating)
  const { activations, weights, exclude, floatStem, ranges = {} } = resolved
  const intervals = Object.entries(ranges).map(([tensor, [min, max]]) => [tensor, { min, max }] as const)
  const options = { activations: activations.type, weights, exclude, floatStem }
  const aware = quantizationAware(model, options, new Map(intervals), {
    scope: training.trainable,
    optimizer: training.optimizer.kind,
    weightScales,
    activationRanges,
  })
  const trained = await trainWith(aware.trainee, training, aware.exported, context)
  return {
    resolved: { ...pass, ranges },
    result: { model: aware.exported(trained.weights), notes: [...aware.notes, ...notesOn(trained)] },
  }
}
