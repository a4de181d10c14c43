import { floatTensor, type GraphEditor, int64Tensor, intsValue, intValue, node } from '@edgefit/shared/onnx'
import type { ScaleWriter } from './fake-quantize.ts'

/** The first opset whose ReduceMax takes its axes as an input. */
const AXES_AS_INPUT = 18

/**
 * Scales computed from the weights in the graph by the rule that the quantized model's come from: max(|w|) / levels over
 * each channel, or over all; never less than its floor.
 *
 * @param barriers receives the names of the scales, through which no gradient is meant to flow
 */
export function scalesFromWeights(opset: number, barriers: Set<string>): ScaleWriter {
  return (editor, { layer, axis, levels, floors }) => {
    const { name, dims } = layer.weights
    const value = (hint: string): string => editor.freshName(`${name}/${hint}`)
    const axes = [...dims.keys()].filter((position) => position !== axis)
    const magnitudes = value('magnitudes')
    const largest = value('largest')
    const scaled = value('scaled')
    const scale = value('scale')
    const step = value('step')
    const least = value('least')
    editor.setInitializer(floatTensor(step, [], Float32Array.of(1 / levels)))
    editor.setInitializer(floatTensor(least, axis === undefined ? [] : [floors.length], Float32Array.from(floors)))
    editor.add(
      node({ opType: 'Abs', inputs: [name], outputs: [magnitudes] }),
      reduceMax(editor, magnitudes, largest, axes, opset),
      node({ opType: 'Mul', inputs: [largest, step], outputs: [scaled] }),
      node({ opType: 'Max', inputs: [scaled, least], outputs: [scale] }),
    )
    barriers.add(scale)
    return { scale, weights: name }
  }
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
