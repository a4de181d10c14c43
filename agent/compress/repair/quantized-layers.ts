import {
  asFloat32,
  asInt32,
  editGraph,
  floatTensor,
  type GraphEditor,
  int32Tensor,
  intAttribute,
  intValue,
  type Model,
  node as makeNode,
  type Node,
  type Tensor,
} from '@edgefit/shared/onnx'
import { roundHalfEven } from '../affine.ts'
import { notesByReason } from '../pass-report.ts'
import { addedBias, setOperand } from './linear-layer.ts'

/** A layer with dequantized weights whose bias can take a shift. */
export interface QuantizedLayer {
  readonly node: Node
  /** Its output, bias included, in the quantized model. */
  readonly output: string
  /** The same value in the float model. */
  readonly floatValue: string
  readonly channels: number
  readonly channelAxis: 1 | -1
}

/** In graph order. `notes` name what cannot be corrected. */
export function findQuantizedLayers(
  quantized: Model,
  float: Model,
): { readonly layers: readonly QuantizedLayer[]; readonly notes: readonly string[] } {
  const editor = editGraph(quantized.graph)
  const floatValues = new Set(float.graph.nodes.flatMap(({ outputs }) => outputs))
  const layers: QuantizedLayer[] = []
  const left: { node: Node; reason: string }[] = []
  for (const node of editor.nodes()) {
    const found = quantizedLayer(editor, node, floatValues)
    if (typeof found === 'string') left.push({ node, reason: `bias not corrected, ${found}` })
    else if (found !== undefined) layers.push(found)
  }
  return { layers, notes: notesByReason(left) }
}

/** A reason for a quantized layer that has no place for a shift; `undefined` for other nodes. */
function quantizedLayer(
  editor: GraphEditor,
  node: Node,
  floatValues: ReadonlySet<string>,
): QuantizedLayer | string | undefined {
  if (!['Conv', 'Gemm', 'MatMul'].includes(node.opType) || node.domain !== '') return undefined
  const weights = dequantizedConstant(editor, node.inputs[1] ?? '')?.values
  if (weights === undefined) return undefined
  const isConv = node.opType === 'Conv'
  const channelAtFront = isConv || (node.opType === 'Gemm' && intAttribute(node, 'transB', 0) !== 0)
  const channels = weights.dims.at(channelAtFront ? 0 : -1) ?? 0
  const [product = ''] = node.outputs
  const sum = node.opType === 'MatMul' ? addedBias(editor, product, channels).output : product
  if (sum === undefined) return 'it has none'
  const floatValue = nameInFloat(editor, sum, floatValues)
  if (floatValue === undefined) return 'the float model does not have its output'
  return { node, output: sum, floatValue, channels, channelAxis: isConv ? 1 : -1 }
}

/** Quantizing renames what comes before the pair and keeps the name after it. */
function nameInFloat(editor: GraphEditor, value: string, floatValues: ReadonlySet<string>): string | undefined {
  let name = value
  while (!floatValues.has(name)) {
    const next = editor.consumers(name).find(({ opType }) => BETWEEN.has(opType))
    if (next === undefined) return undefined
    name = next.outputs[0] ?? ''
  }
  return name
}

const BETWEEN: ReadonlySet<string> = new Set(['Sum', 'QuantizeLinear', 'DequantizeLinear'])

/** Adds `shift` to the layer's bias: to its integers where it is quantized, in steps of its scale. */
export function shiftBias(
  editor: GraphEditor,
  { node: layer, output, channels }: QuantizedLayer,
  shift: Float64Array,
): void {
  const node = editor.producer(layer.outputs[0] ?? '')
  if (node === undefined) throw new RangeError(`layer "${layer.name}" is not in the graph`)
  if (node.opType === 'MatMul') {
    const bias = addedBias(editor, node.outputs[0] ?? '', channels).bias
    if (bias === undefined) throw new RangeError(`"${output}" has no bias`)
    setOperand(editor, bias.reader, plus(bias.tensor, shift))
    return
  }
  const [input = '', weights = '', biasName = ''] = node.inputs
  const before = dequantizedConstant(editor, biasName)
  const bias = editor.constant(biasName)
  if (before?.values.dataType === 'INT32') {
    const values = plusSteps(asInt32(before.values), shift, before.scales)
    const changed = int32Tensor(before.values.name, before.values.dims, values)
    const dequantize = editor.producer(biasName)
    if (dequantize === undefined) throw new RangeError(`bias "${biasName}" has no DequantizeLinear`)
    // Others may share the integers or their DequantizeLinear.
    const name = editor.freshName(`${changed.name}/repaired`)
    const value = editor.freshName(`${biasName}/repaired`)
    editor.setInitializer({ ...changed, name })
    const [, ...params] = dequantize.inputs
    editor.add({ ...dequantize, name: value, inputs: [name, ...params], outputs: [value] })
    editor.replaceUses(biasName, value, (consumer) => consumer.outputs[0] === node.outputs[0])
  } else if (bias?.dataType === 'FLOAT') {
    setOperand(editor, node, plus(bias, shift))
  } else {
    editor.replace(node, { ...node, inputs: [input, weights, newBias(editor, node, shift)] })
  }
}

/** The name of a bias for a layer without one: int32 in steps of input times weights, which the integer kernels ask for. */
function newBias(editor: GraphEditor, layer: Node, shift: Float64Array): string {
  const [input = '', weightsName = '', ,] = layer.inputs
  const hint = `${layer.outputs[0] ?? ''}/bias`
  const inputScale = scalesOf(editor, input)?.[0]
  const weights = dequantizedConstant(editor, weightsName)
  if (inputScale === undefined || weights === undefined) {
    const name = editor.freshName(hint)
    editor.setInitializer(floatTensor(name, [shift.length], Float32Array.from(shift)))
    return name
  }
  const scales = weights.scales.map((scale) => Math.fround(scale * inputScale))
  const perChannel = scales.length > 1
  const values = editor.freshName(`${hint}/quantized`)
  const scale = editor.freshName(`${hint}/scale`)
  const output = editor.freshName(`${hint}/dequantized`)
  editor.setInitializer(int32Tensor(values, [shift.length], plusSteps(new Int32Array(shift.length), shift, scales)))
  editor.setInitializer(floatTensor(scale, perChannel ? [scales.length] : [], scales))
  const attributes = perChannel ? { axis: intValue(0) } : {}
  editor.add(makeNode({ opType: 'DequantizeLinear', inputs: [values, scale], outputs: [output], attributes }))
  return output
}

function plus(tensor: Tensor, shift: Float64Array): Tensor {
  const sum = asFloat32(tensor).map((value, channel) => value + (shift[channel] ?? 0))
  return floatTensor(tensor.name, tensor.dims, sum)
}

const INT32_MAX = 2 ** 31 - 1

function plusSteps(values: Int32Array, shift: Float64Array, scales: Float32Array): Int32Array {
  return values.map((value, channel) => {
    const scale = scales[scales.length === 1 ? 0 : channel] ?? 1
    return Math.min(INT32_MAX, Math.max(-INT32_MAX, value + roundHalfEven((shift[channel] ?? 0) / scale)))
  })
}

function dequantizedConstant(
  editor: GraphEditor,
  value: string,
): { readonly values: Tensor; readonly scales: Float32Array } | undefined {
  const producer = editor.producer(value)
  const scales = scalesOf(editor, value)
  const values = editor.initializer(producer?.inputs[0] ?? '')
  return values === undefined || scales === undefined ? undefined : { values, scales }
}

function scalesOf(editor: GraphEditor, value: string): Float32Array | undefined {
  const producer = editor.producer(value)
  if (producer?.opType !== 'DequantizeLinear') return undefined
  const scales = editor.constant(producer.inputs[1] ?? '')
  return scales?.dataType === 'FLOAT' ? asFloat32(scales) : undefined
}
