import { type GraphEditor, int64Tensor, intsValue, intValue, node } from '@edgefit/shared/onnx'

/** Statistics of a value per channel; what leaves the runtime does not grow with the activation. */
export type ChannelStatistic = 'mean' | 'meanSquare' | 'variance' | 'maxMagnitude'

/**
 * Adds nodes that reduce `value` to one number a channel; the name of the result.
 *
 * `channelAxis`: 1 for convolutions, -1 where the channels come last.
 */
export function addChannelStatistic(
  editor: GraphEditor,
  value: string,
  statistic: ChannelStatistic,
  { channels, channelAxis, opset }: { readonly channels: number; readonly channelAxis: 1 | -1; readonly opset: number },
): string {
  const add = (opType: string, inputs: readonly string[], attributes = {}): string => {
    const output = editor.freshName(`${value}/${statistic}`)
    editor.add(node({ opType, inputs, outputs: [output], attributes }))
    return output
  }
  const constant = (values: readonly number[]): string => {
    const name = editor.freshName(`${value}/constant`)
    editor.setInitializer(int64Tensor(name, [values.length], values))
    return name
  }
  const lined = add('Reshape', [value, constant(channelAxis === 1 ? [0, channels, -1] : [-1, channels])])
  const axes = channelAxis === 1 ? [0, 2] : [0]
  const reduce = (opType: string, from: string, keepDims = 0): string =>
    // The axes became an input with opset 18.
    opset >= 18
      ? add(opType, [from, constant(axes)], { keepdims: intValue(keepDims) })
      : add(opType, [from], { axes: intsValue(axes), keepdims: intValue(keepDims) })
  switch (statistic) {
    case 'mean':
      return reduce('ReduceMean', lined)
    case 'meanSquare':
      return reduce('ReduceMean', add('Mul', [lined, lined]))
    case 'variance': {
      const centred = add('Sub', [lined, reduce('ReduceMean', lined, 1)])
      return reduce('ReduceMean', add('Mul', [centred, centred]))
    }
    case 'maxMagnitude':
      return reduce('ReduceMax', add('Abs', [lined]))
  }
}
