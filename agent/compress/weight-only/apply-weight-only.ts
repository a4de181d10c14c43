import type { Pass } from '@edgefit/shared/model'
import type { Model } from '@edgefit/shared/onnx'
import type { CalibrationProgress } from '../calibration/collect.ts'
import type { Sampling } from '../calibration/run-samples.ts'
import type { PassResult } from '../pass-report.ts'
import { applyRounding } from '../rounding/apply-rounding.ts'
import { blockLayers } from '../rounding/block-layers.ts'
import { planWeightsOnly } from './weight-only.ts'

type WeightsPass = Extract<Pass, { pass: 'quantize-weights' }>

/** Quantizes with the roundings of the recipe, or finds them first where it asks for it, and embeds them. */
export async function applyWeightsOnly(
  model: Model,
  pass: WeightsPass,
  sampling: (samples: number) => Sampling,
  onProgress: (progress: CalibrationProgress) => void,
): Promise<{ readonly resolved: WeightsPass; readonly result: PassResult }> {
  const quantization = planWeightsOnly(model, pass)
  const rounded = await applyRounding(pass, blockLayers(quantization, pass), sampling, onProgress)
  const result = quantization.apply(rounded.roundings)
  return {
    resolved: { ...pass, ...rounded.resolved },
    result: { ...result, notes: [...result.notes, ...rounded.notes] },
  }
}
