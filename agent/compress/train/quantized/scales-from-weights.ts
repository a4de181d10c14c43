import { floatTensor } from '@edgefit/shared/onnx'
import { algebra } from '../autodiff/rules/algebra.ts'
import type { ScaleWriter } from './fake-quantize.ts'

/**
 * Scales computed from the weights in the graph by the rule that the quantized model's come from: max(|w|) / levels over
 * each channel, or over all; never less than its floor.
 *
 * @param barriers receives the names of the scales, through which no gradient is meant to flow
 */
export function scalesFromWeights(barriers: Set<string>): ScaleWriter {
  return (emit, { layer, axis, levels, floors }) => {
    const { name, dims } = layer.weights
    const { abs, mul, max } = algebra(emit)
    const axes = [...dims.keys()].filter((position) => position !== axis)
    const shape = axis === undefined ? [] : [floors.length]
    const floor = emit.constant(floatTensor(`${name}/floor`, shape, Float32Array.from(floors)))
    const scale = max(mul(emit.reduce('ReduceMax', abs(name), axes, false), 1 / levels), floor)
    barriers.add(scale)
    return { scale, weights: name }
  }
}
