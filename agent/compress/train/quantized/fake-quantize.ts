import { int8Tensor, intValue, type Tensor } from '@edgefit/shared/onnx'
import { weightRange } from '../../affine.ts'
import { minimalWeightScales } from '../../quantize-bias.ts'
import {
  bySharedWeights,
  keepProductAlone,
  type LayerQuantizer,
  replaceOperand,
} from '../../quantize-static/insert-qdq.ts'
import type { LayerPlan } from '../../quantize-static/plan.ts'
import type { Emitter } from '../autodiff/emitter.ts'
import { emitInto } from './emit-into.ts'

/** Weights that get one scale for each entry of `axis`, or one in all. */
export interface WeightsToScale {
  readonly layer: LayerPlan
  readonly axis: number | undefined
  /** The largest integer. */
  readonly levels: number
  /** The least scale of each. */
  readonly floors: readonly number[]
}

interface ScaledWeights {
  /** Name of the scales. */
  readonly scale: string
  /** Name of what is to be divided by them: the weights, held within what the integers can say. */
  readonly weights: string
}

/** Emits the scales of weights. */
export type ScaleWriter = (emit: Emitter, weights: WeightsToScale) => ScaledWeights

/**
 * Layers as training needs them: their weights stay float32 initializers and go through QuantizeLinear and
 * DequantizeLinear on their way. Biases stay as they are: int32 leaves nothing to learn.
 *
 * Least scales leave the bias out, which changes while training: where a channel's bias is so large beside its weights
 * that int32 would not hold it, the exported model has a larger scale than training saw.
 */
export function fakeQuantizer(opset: number, writeScales: ScaleWriter): LayerQuantizer {
  return (editor, plan, paramsOf, { weights: format }) => {
    for (const [first, ...others] of bySharedWeights(plan.layers)) {
      const layers = [first, ...others]
      const axis = format.perChannel ? first.axis : undefined
      const uses = layers.map(({ input }) => ({ inputScale: paramsOf(input).scale, bias: undefined }))
      const channels = axis === undefined ? 1 : (first.weights.dims[axis] ?? 1)
      const levels = weightRange('int8', format.reducedRange).max
      const floors = minimalWeightScales(channels, uses)
      const name = emitInto(editor, opset, (emit) =>
        emitRounded(emit, first.weights, writeScales(emit, { layer: first, axis, levels, floors }), axis),
      )
      for (const layer of layers) {
        if (layer.node.opType === 'MatMul') keepProductAlone(editor, layer.node)
        replaceOperand(editor, layer.node, first.weights.name, name)
      }
    }
  }
}

function emitRounded(
  emit: Emitter,
  { name, dims }: Tensor,
  { scale, weights }: ScaledWeights,
  axis: number | undefined,
): string {
  const attributes = axis === undefined ? {} : { axis: intValue(axis) }
  const channels = axis === undefined ? [] : [dims[axis] ?? 1]
  const zeros = emit.constant(int8Tensor(`${name}/zero_point`, channels, new Int8Array(channels[0] ?? 1)))
  const quantized = emit.add('QuantizeLinear', [weights, scale, zeros], attributes)
  return emit.add('DequantizeLinear', [quantized, scale, zeros], attributes)
}
