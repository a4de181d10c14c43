import {
  asInt64Numbers,
  bitsPerElement,
  editGraph,
  elementCount,
  floatTensor,
  type GraphEditor,
  int64Tensor,
  intsAttribute,
  type Model,
  type Node,
  type Tensor,
  tensorAttribute,
} from '@edgefit/shared/onnx'

/**
 * Turns nodes that only restate a constant (Constant, ConstantOfShape; Squeeze, Unsqueeze, Reshape of constants) into initializers, which the other passes look for, and takes out Identity and inference-time Dropout.
 *
 * Initializers that are declared as inputs too, as all are before IR version 4, are from then on constants. The subgraphs
 * of control flow are left as they are.
 */
export function foldConstants(model: Model): Model {
  const graph = withoutDefaultedInputs(model)
  const editor = editGraph(graph)
  for (const node of editor.nodes()) {
    const [output = ''] = node.outputs
    if (handsOn(node, editor)) editor.bypass(node)
    else if (!editor.isGraphOutput(output)) fold(editor, node, output)
  }
  editor.prune()
  const folded = editor.build()
  return folded === model.graph ? model : { ...model, irVersion: Math.max(model.irVersion, 4), graph: folded }
}

function withoutDefaultedInputs({ graph }: Model): Model['graph'] {
  const inputs = graph.inputs.filter((input) => !graph.initializers.has(input.name))
  return inputs.length === graph.inputs.length ? graph : { ...graph, inputs }
}

/** Whether the node hands its first input on unchanged. */
function handsOn(node: Node, editor: GraphEditor): boolean {
  if (node.domain !== '') return false
  if (node.opType === 'Identity') return true
  if (node.opType !== 'Dropout' || (node.outputs[1] ?? '') !== '') return false
  const [, , training = ''] = node.inputs
  return training === '' || editor.constant(training)?.data[0] === 0
}

function fold(editor: GraphEditor, node: Node, output: string): void {
  const tensor = evaluate(node, (input) => editor.initializer(input))
  if (tensor === undefined) return
  editor.remove(node)
  editor.setInitializer({ ...tensor, name: output })
}

function evaluate(node: Node, constant: (input: string) => Tensor | undefined): Tensor | undefined {
  if (node.domain !== '') return undefined
  const input = constant(node.inputs[0] ?? '')
  switch (node.opType) {
    case 'Constant':
      return constantValue(node)
    case 'ConstantOfShape':
      return input === undefined ? undefined : filled(asInt64Numbers(input), tensorAttribute(node, 'value'))
    case 'Reshape':
    case 'Squeeze':
    case 'Unsqueeze':
      return input === undefined ? undefined : reshaped(node, input, constant(node.inputs[1] ?? ''))
    default:
      return undefined
  }
}

function constantValue(node: Node): Tensor | undefined {
  const [output = ''] = node.outputs
  const one = node.attributes.get('value_float') ?? node.attributes.get('value_int')
  if (one?.kind === 'FLOAT') return floatTensor(output, [], Float32Array.of(one.value))
  if (one?.kind === 'INT') return int64Tensor(output, [], [one.value])
  const many = node.attributes.get('value_floats') ?? node.attributes.get('value_ints')
  if (many?.kind === 'FLOATS') return floatTensor(output, [many.value.length], Float32Array.from(many.value))
  if (many?.kind === 'INTS') return int64Tensor(output, [many.value.length], many.value)
  return tensorAttribute(node, 'value')
}

function filled(dims: readonly number[], value: Tensor | undefined): Tensor | undefined {
  if (value === undefined) return floatTensor('', dims, new Float32Array(elementCount(dims)))
  const elementBytes = bitsPerElement(value.dataType) / 8
  if (!Number.isInteger(elementBytes) || elementBytes === 0) return undefined
  const data = new Uint8Array(elementCount(dims) * elementBytes)
  for (let offset = 0; offset < data.length; offset += elementBytes) data.set(value.data, offset)
  return { name: '', dataType: value.dataType, dims, data }
}

/** `operand`: the target shape of Reshape; the axes of the others where they are an input, since opset 13. */
function reshaped(node: Node, input: Tensor, operand: Tensor | undefined): Tensor | undefined {
  if (node.inputs.length > 1 && operand === undefined) return undefined
  const given = operand === undefined ? undefined : asInt64Numbers(operand)
  const axes = given ?? intsAttribute(node, 'axes', undefined)
  const dims =
    node.opType === 'Reshape'
      ? targetDims(input, given ?? [])
      : node.opType === 'Unsqueeze'
        ? unsqueezed(input.dims, axes ?? [])
        : squeezed(input.dims, axes)
  return elementCount(dims) === elementCount(input.dims) ? { ...input, dims } : undefined
}

function targetDims(input: Tensor, shape: readonly number[]): readonly number[] {
  const dims = shape.map((dim, axis) => (dim === 0 ? (input.dims[axis] ?? 0) : dim))
  const known = elementCount(dims.filter((dim) => dim !== -1))
  return dims.map((dim) => (dim === -1 ? elementCount(input.dims) / known : dim))
}

function unsqueezed(dims: readonly number[], axes: readonly number[]): readonly number[] {
  const rank = dims.length + axes.length
  const inserted = new Set(axes.map((axis) => (axis < 0 ? axis + rank : axis)))
  const rest = dims.values()
  return Array.from({ length: rank }, (_, axis) => (inserted.has(axis) ? 1 : (rest.next().value ?? 1)))
}

function squeezed(dims: readonly number[], axes: readonly number[] | undefined): readonly number[] {
  const removed = new Set(axes?.map((axis) => (axis < 0 ? axis + dims.length : axis)))
  return dims.filter((dim, axis) => (axes === undefined ? dim !== 1 : !removed.has(axis)))
}
