import type { Model } from '@edgefit/shared/onnx'
import type { Interval } from '../../affine.ts'
import { groupParams } from '../../quantize-static/group-params.ts'
import { insertQdq } from '../../quantize-static/insert-qdq.ts'
import { type QuantizeStaticOptions, quantizeStatic } from '../../quantize-static/quantize-static.ts'
import type { Numbers } from '../run-step.ts'
import type { Trainee } from '../train.ts'
import { type TrainableScope, trainableWeights } from '../trainable.ts'
import { withWeights } from '../with-weights.ts'
import { fakeQuantizer } from './fake-quantize.ts'

export interface QuantizationAware {
  /** Quantizes and dequantizes where the exported model does; gradients pass straight through (arXiv 1308.3432). */
  readonly trainee: Trainee
  /** The quantized model with these weights. */
  exported(weights: Numbers): Model
  /** What stays in float, and why. */
  readonly notes: readonly string[]
}

/**
 * A model in the form in which quantization-aware training sees it (Jacob et al., arXiv 1712.05877): activations with
 * their calibrated, frozen ranges, weights with scales that follow them.
 *
 * @param model float32, batch normalization folded
 * @param ranges as `quantizeStatic` wants them
 * @throws EdgefitError as `quantizeStatic` does; MODEL_UNSUPPORTED when there is no weight to train.
 */
export function quantizationAware(
  model: Model,
  options: QuantizeStaticOptions,
  ranges: ReadonlyMap<string, Interval>,
  scope: TrainableScope,
): QuantizationAware {
  const { prepared, plan } = quantizeStatic(model, options)
  const barriers = new Set<string>()
  const opset = prepared.opsetImports.get('') ?? 1
  const params = groupParams(plan, ranges, options.activations)
  const graph = insertQdq(prepared.graph, plan, params, options, { layers: fakeQuantizer(opset, barriers) })
  return {
    trainee: { model: { ...prepared, graph }, trainable: trainableWeights(prepared, scope), barriers },
    notes: plan.notes,
    exported: (weights) => quantizeStatic(withWeights(prepared, weights), options).apply(ranges).model,
  }
}
