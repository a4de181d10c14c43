import type { Pass, Training } from '@edgefit/shared/model'
import type { Model } from '@edgefit/shared/onnx'
import type { PassResult } from '../pass-report.ts'
import { applyStatic } from '../quantize-static/apply-static.ts'
import { notesOn, type TrainingContext, trainWith } from './apply-training.ts'
import { type QuantizationAware, quantizationAware } from './quantized/quantization-aware.ts'
import { weightsOnlyAware } from './quantized/weights-only-aware.ts'
import type { Trained } from './train.ts'
import { withWeights } from './with-weights.ts'

type QuantizeAwarePass = Extract<Pass, { pass: 'quantize-aware' }>
type QuantizeWeightsAwarePass = Extract<Pass, { pass: 'quantize-weights-aware' }>
/** Samples and a listener, for calibration. */
type CalibrationArguments = Parameters<typeof applyStatic> extends [unknown, unknown, ...infer Rest] ? Rest : never

/**
 * Trains a float32 model for static quantization, and quantizes it. The resolved pass has the ranges that training began
 * with: learned ones are in the model.
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
    penalties: training.penalties,
    optimizer: training.optimizer.kind,
    weightScales,
    activationRanges,
  })
  return { resolved: { ...pass, ranges }, result: await trainAware(aware, training, context) }
}

/**
 * Trains a float32 model for weights of few bits, and quantizes them.
 *
 * @throws EdgefitError what `weightsOnlyAware` and `train` throw.
 */
export async function applyQuantizeWeightsAware(
  model: Model,
  { training, weightScales, ...options }: QuantizeWeightsAwarePass,
  context: TrainingContext,
): Promise<PassResult> {
  const { trainable: scope, penalties, optimizer } = training
  const aware = weightsOnlyAware(model, options, { scope, penalties, optimizer: optimizer.kind, weightScales })
  return await trainAware(aware, training, context)
}

async function trainAware(aware: QuantizationAware, training: Training, context: TrainingContext): Promise<PassResult> {
  const trained = await trainWith(aware.trainee, training, aware.exported, context)
  return {
    model: aware.exported(trained.weights),
    notes: [...aware.notes, ...notesOn(trained, training), ...(await agreement(aware, trained, context))],
  }
}

/** Every score is that of the exported model; what training saw may differ by how the runtime computes with integers. */
async function agreement(
  { trainee }: QuantizationAware,
  { weights, bestScore }: Trained,
  { port }: TrainingContext,
): Promise<readonly string[]> {
  if (port === undefined) return []
  const seen = await port.judge(withWeights(trainee.model, weights), () => undefined)
  const points = 100 * (seen - bestScore)
  return [
    `the graph that was trained scores ${Math.abs(points).toFixed(2)} points ${points < 0 ? 'less' : 'more'} than the model`,
  ]
}
