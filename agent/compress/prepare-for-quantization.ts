import {
  editGraph,
  elementCount,
  type GraphEditor,
  type GraphIndex,
  indexGraph,
  inferShapes,
  type Model,
  type Node,
} from '@edgefit/shared/onnx'
import { liftOpset } from './lift-opset/lift-opset.ts'
import { simplify } from './simplify.ts'

/** The first opset whose DequantizeLinear takes a scale per channel. */
const PER_CHANNEL_OPSET = 13

/**
 * The same function in the form that the quantizers work on: constants as initializers, `opset` or newer, a Sum of two,
 * which has no integer kernel, as an Add, and a matrix product with its bias as one Gemm.
 *
 * @throws EdgefitError MODEL_UNSUPPORTED as {@link liftOpset}.
 */
export function prepareForQuantization(model: Model, opset = PER_CHANNEL_OPSET): Model {
  const lifted = liftOpset(simplify(model), opset)
  const shapes = indexGraph(inferShapes(lifted).graph)
  const editor = editGraph(lifted.graph)
  for (const node of editor.nodes()) {
    if (node.domain !== '') continue
    if (node.opType === 'Sum' && node.inputs.length === 2) editor.replace(node, { ...node, opType: 'Add' })
    if (node.opType === 'MatMul') mergeBias(editor, shapes, node)
  }
  editor.prune()
  const graph = editor.build()
  return graph === lifted.graph ? lifted : { ...lifted, graph }
}

/** A Gemm keeps its name of MatMul, and takes the bias into the integer product. Only for two dimensions. */
function mergeBias(editor: GraphEditor, shapes: GraphIndex, product: Node): void {
  const [input = '', weightsName = ''] = product.inputs
  const [output = ''] = product.outputs
  const weights = editor.initializer(weightsName)
  const [add, ...others] = editor.consumers(output)
  if (weights?.dims.length !== 2 || shapes.shapeOf(input)?.length !== 2 || editor.isGraphOutput(output)) return
  if (add?.opType !== 'Add' || add.domain !== '' || others.length > 0) return
  const biasName = add.inputs.find((value) => value !== output) ?? ''
  const bias = editor.initializer(biasName)
  if (bias?.dims.length !== 1 || elementCount(bias.dims) !== weights.dims[1]) return
  editor.remove(add)
  editor.replace(product, { ...product, opType: 'Gemm', inputs: [input, weightsName, biasName], outputs: add.outputs })
}
