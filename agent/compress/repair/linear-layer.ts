import {
  asFloat32,
  elementCount,
  floatAttribute,
  floatTensor,
  type GraphEditor,
  intAttribute,
  type Node,
  type Tensor,
} from '@edgefit/shared/onnx'

/**
 * A node that multiplies by constant float32 weights, with the channels that each weight connects: weight `[a][b][k]` of
 * `weights`, seen as `outer × inner × kernel`.
 */
export interface LinearLayer {
  readonly node: Node
  readonly weights: Tensor
  /** Where a bias is added: an input of the node, or of the Add of a constant that alone reads the product. */
  readonly bias?: { readonly tensor: Tensor; readonly reader: Node }
  readonly inputChannels: number
  readonly outputChannels: number
  readonly outer: number
  readonly inner: number
  readonly kernel: number
  inputOf(outer: number, inner: number): number
  outputOf(outer: number, inner: number): number
  /** The value with the bias in it. */
  readonly output: string
}

/** `node` as a layer; `undefined` for other operators and where weights or bias are not constants of the expected size. */
export function linearLayer(editor: GraphEditor, node: Node): LinearLayer | undefined {
  if (node.domain !== '') return undefined
  const weights = editor.constant(node.inputs[1] ?? '')
  if (weights?.dataType !== 'FLOAT') return undefined
  const shape = shapeOf(node, weights)
  if (shape === undefined) return undefined
  const [output = ''] = node.outputs
  const layer = { ...shape, node, weights, output }
  if (node.opType === 'MatMul') return { ...layer, ...addedBias(editor, output, shape.outputChannels) }
  const biasName = node.inputs[2] ?? ''
  if (biasName === '') return layer
  const tensor = editor.constant(biasName)
  const fits = tensor?.dataType === 'FLOAT' && elementCount(tensor.dims) === shape.outputChannels
  return fits ? { ...layer, bias: { tensor, reader: node } } : undefined
}

type LayerShape = Pick<
  LinearLayer,
  'inputChannels' | 'outputChannels' | 'outer' | 'inner' | 'kernel' | 'inputOf' | 'outputOf'
>

function shapeOf(node: Node, weights: Tensor): LayerShape | undefined {
  const [outer = 0, inner = 0, ...rest] = weights.dims
  const kernel = elementCount(rest)
  switch (node.opType) {
    case 'Conv': {
      const groups = intAttribute(node, 'group', 1)
      const perGroup = outer / groups
      const inputOf = (a: number, b: number): number => Math.floor(a / perGroup) * inner + b
      return { inputChannels: inner * groups, outputChannels: outer, outer, inner, kernel, inputOf, outputOf: (a) => a }
    }
    case 'Gemm': {
      const plain = floatAttribute(node, 'alpha', 1) === 1 && floatAttribute(node, 'beta', 1) === 1
      if (!plain || intAttribute(node, 'transA', 0) !== 0) return undefined
      return product(outer, inner, intAttribute(node, 'transB', 0) !== 0)
    }
    case 'MatMul':
      return weights.dims.length === 2 ? product(outer, inner, false) : undefined
    default:
      return undefined
  }
}

function product(outer: number, inner: number, transposed: boolean): LayerShape {
  const [inputChannels, outputChannels] = transposed ? [inner, outer] : [outer, inner]
  const first = (a: number): number => a
  const second = (_a: number, b: number): number => b
  const [inputOf, outputOf] = transposed ? [second, first] : [first, second]
  return { inputChannels, outputChannels, outer, inner, kernel: 1, inputOf, outputOf }
}

/** The constant that alone is added to `value`, one number a channel, and the sum. */
export function addedBias(
  editor: GraphEditor,
  value: string,
  channels: number,
): Partial<Pick<LinearLayer, 'bias' | 'output'>> {
  const [add, ...others] = editor.consumers(value)
  if (add === undefined || others.length > 0 || editor.isGraphOutput(value)) return {}
  if (!['Add', 'Sum'].includes(add.opType) || add.domain !== '' || add.inputs.length !== 2) return {}
  const tensor = editor.constant(add.inputs.find((input) => input !== value) ?? '')
  if (tensor?.dataType !== 'FLOAT' || tensor.dims.length !== 1 || tensor.dims[0] !== channels) return {}
  return { bias: { tensor, reader: add }, output: add.outputs[0] ?? '' }
}

/** Calls `visit` with the index of every weight and the channels it connects. */
export function forEachWeight(layer: LinearLayer, visit: (index: number, input: number, output: number) => void): void {
  let index = 0
  for (let outer = 0; outer < layer.outer; outer++) {
    for (let inner = 0; inner < layer.inner; inner++) {
      const input = layer.inputOf(outer, inner)
      const output = layer.outputOf(outer, inner)
      for (let at = 0; at < layer.kernel; at++) visit(index++, input, output)
    }
  }
}

/** Multiplies the layer's inputs and outputs, weights and bias, by factors per channel. Weights that others share are copied. */
export function scaleLayer(
  editor: GraphEditor,
  layer: LinearLayer,
  { inputs, outputs }: { readonly inputs?: Float64Array; readonly outputs?: Float64Array },
): void {
  const weights = Float32Array.from(asFloat32(layer.weights))
  forEachWeight(layer, (index, input, output) => {
    weights[index] = (weights[index] ?? 0) * (inputs?.[input] ?? 1) * (outputs?.[output] ?? 1)
  })
  setOperand(editor, layer.node, floatTensor(layer.weights.name, layer.weights.dims, weights))
  if (layer.bias === undefined || outputs === undefined) return
  const { tensor, reader } = layer.bias
  const bias = asFloat32(tensor).map((value, channel) => value * (outputs[channel] ?? 1))
  setOperand(editor, reader, floatTensor(tensor.name, tensor.dims, bias))
}

/** Makes `node` read `changed` in place of the constant of that name, which others may go on reading. */
export function setOperand(editor: GraphEditor, { outputs: [output] }: Node, changed: Tensor): void {
  const name = editor.freshName(`${changed.name}/repaired`)
  editor.setInitializer({ ...changed, name })
  // Rewiring one operand gives the node a new object: its first output still identifies it.
  editor.replaceUses(changed.name, name, (consumer) => consumer.outputs[0] === output)
}
