import {
  floatTensor,
  type GraphEditor,
  int8Tensor,
  int64Tensor,
  intsValue,
  intValue,
  node,
  type Tensor,
} from '@edgefit/shared/onnx'
import { weightRange } from '../../affine.ts'
import { minimalWeightScales } from '../../quantize-bias.ts'
import {
  bySharedWeights,
  keepProductAlone,
  type LayerQuantizer,
  replaceOperand,
} from '../../quantize-static/insert-qdq.ts'

/** The first opset whose ReduceMax takes its axes as an input. */
const AXES_AS_INPUT = 18

/**
 * Layers as training needs them: their weights stay float32 initializers and go through QuantizeLinear and
 * DequantizeLinear on their way, with scales computed from them in the graph by the rule that the quantized model's come
 * from. Biases stay as they are: int32 leaves nothing to learn.
 *
 * Least scales leave the bias out, which changes while training: where a channel's bias is so large beside its weights
 * that int32 would not hold it, the exported model has a larger scale than training saw.
 *
 * @param scales receives the names of the computed scales, through which no gradient is meant to flow
 */
export function fakeQuantizer(opset: number, scales: Set<string>): LayerQuantizer {
  return (editor, plan, paramsOf, { weights: format }) => {
    for (const [first, ...others] of bySharedWeights(plan.layers)) {
      const layers = [first, ...others]
      const axis = format.perChannel ? first.axis : undefined
      const uses = layers.map(({ input }) => ({ inputScale: paramsOf(input).scale, bias: undefined }))
      const channels = axis === undefined ? 1 : (first.weights.dims[axis] ?? 1)
      const levels = weightRange('int8', format.reducedRange).max
      const scale = addScale(editor, first.weights, {
        axis,
        levels,
        floors: minimalWeightScales(channels, uses),
        opset,
      })
      scales.add(scale)
      const name = addFakeQuantized(editor, first.weights, scale, axis)
      for (const layer of layers) {
        if (layer.node.opType === 'MatMul') keepProductAlone(editor, layer.node)
        replaceOperand(editor, layer.node, first.weights.name, name)
      }
    }
  }
}

interface ScaleOptions {
  readonly axis: number | undefined
  /** The largest integer. */
  readonly levels: number
  /** The least scale of each channel. */
  readonly floors: readonly number[]
  readonly opset: number
}

/** max(|w|) / levels over each channel, or over all; never less than its floor. */
function addScale(editor: GraphEditor, { name, dims }: Tensor, { axis, levels, floors, opset }: ScaleOptions): string {
  const value = (hint: string): string => editor.freshName(`${name}/${hint}`)
  const axes = [...dims.keys()].filter((position) => position !== axis)
  const magnitudes = value('magnitudes')
  const largest = value('largest')
  const scaled = value('scaled')
  const scale = value('scale')
  const step = value('step')
  const least = value('least')
  editor.setInitializer(floatTensor(step, [], Float32Array.of(1 / levels)))
  const shape = axis === undefined ? [] : [floors.length]
  editor.setInitializer(floatTensor(least, shape, Float32Array.from(floors)))
  editor.add(
    node({ opType: 'Abs', inputs: [name], outputs: [magnitudes] }),
    reduceMax(editor, magnitudes, largest, axes, opset),
    node({ opType: 'Mul', inputs: [largest, step], outputs: [scaled] }),
    node({ opType: 'Max', inputs: [scaled, least], outputs: [scale] }),
  )
  return scale
}

function reduceMax(editor: GraphEditor, from: string, to: string, axes: readonly number[], opset: number) {
  const keepdims = intValue(0)
  if (opset < AXES_AS_INPUT) {
    return node({ opType: 'ReduceMax', inputs: [from], outputs: [to], attributes: { keepdims, axes: intsValue(axes) } })
  }
  const name = editor.freshName(`${to}/axes`)
  editor.setInitializer(int64Tensor(name, [axes.length], axes))
  return node({ opType: 'ReduceMax', inputs: [from, name], outputs: [to], attributes: { keepdims } })
}

function addFakeQuantized(editor: GraphEditor, weights: Tensor, scale: string, axis: number | undefined): string {
  const { name, dims } = weights
  const attributes = axis === undefined ? {} : { axis: intValue(axis) }
  const zeros = editor.freshName(`${name}/zero_point`)
  const channels = axis === undefined ? [] : [dims[axis] ?? 1]
  editor.setInitializer(int8Tensor(zeros, channels, new Int8Array(channels[0] ?? 1)))
  const quantized = editor.freshName(`${name}/quantized`)
  const output = editor.freshName(`${name}/dequantized`)
  editor.add(
    node({ opType: 'QuantizeLinear', inputs: [name, scale, zeros], outputs: [quantized], attributes }),
    node({ opType: 'DequantizeLinear', inputs: [quantized, scale, zeros], outputs: [output], attributes }),
  )
  return output
}
