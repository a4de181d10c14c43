import { EdgefitError } from '@edgefit/shared'
import {
  editGraph,
  type GraphEditor,
  indexGraph,
  intValue,
  type Model,
  type Node,
  node,
  subgraphs,
  type Tensor,
} from '@edgefit/shared/onnx'
import { nodeLabel, refuseUnknownNodes } from './node-label.ts'
import { INSIDE_STAYS, type Layer, roleOf } from './operator-roles.ts'
import { notesByReason, type PassResult } from './pass-report.ts'
import { prepareForQuantization } from './prepare-for-quantization.ts'
import { quantizeWeights, type WeightFormat } from './quantize-weights.ts'
import { addParams, addValues, type ParamNames } from './quantized-constants.ts'

export interface DynamicOptions extends WeightFormat {
  readonly perChannel: boolean
  /** Labels of nodes to leave in float. */
  readonly exclude: readonly string[]
}

/**
 * 8-bit weights, and activations quantized at each run with a scale taken from the values themselves, for MatMul and
 * Gemm. Needs no calibration. Convolutions stay in float: the runtime's ConvInteger is slower than that.
 *
 * Written as DynamicQuantizeLinear, MatMulInteger, Cast and Mul, which the runtime fuses into one kernel.
 *
 * @throws EdgefitError MODEL_UNSUPPORTED when the model has nothing to quantize or its opset is too old; RECIPE_INVALID
 * when `exclude` names what is not there; MODEL_INVALID for weights that are not finite.
 */
export function quantizeDynamic(model: Model, options: DynamicOptions): PassResult {
  const prepared = prepareForQuantization(model)
  refuseUnknownNodes(prepared.graph, options.exclude)
  const index = indexGraph(prepared.graph)
  const editor = editGraph(prepared.graph)
  const exclude = new Set(options.exclude)
  const activations = new Map<string, Activation>()
  const weights = new Map<string, Weights>()
  const left: { node: Node; reason: string }[] = []
  let quantized = 0

  for (const layer of prepared.graph.nodes) {
    if (subgraphs(layer).length > 0) left.push({ node: layer, reason: INSIDE_STAYS })
    if (!['Conv', 'MatMul', 'Gemm'].includes(layer.opType) || layer.domain !== '') continue
    const role = roleOf(layer, (value) => index.constant(value))
    const reason = exclude.has(nodeLabel(layer)) ? 'the recipe excludes it' : whyNot(layer, role)
    if (reason !== undefined) left.push({ node: layer, reason: `in float, ${reason}` })
    if (reason !== undefined || role.kind !== 'layer') continue
    const [input = ''] = layer.inputs
    const key = `${role.axis} ${role.weights.name}`
    const activation = activations.get(input) ?? addActivation(editor, input)
    const constant = weights.get(key) ?? addWeights(editor, role, options)
    activations.set(input, activation)
    weights.set(key, constant)
    replaceLayer(editor, layer, activation, constant, role.bias)
    quantized++
  }
  const notes = notesByReason(left)
  if (quantized === 0) throw nothingToQuantize(notes)
  editor.prune()
  return { model: { ...prepared, graph: editor.build() }, notes }
}

function whyNot(layer: Node, role: ReturnType<typeof roleOf>): string | undefined {
  if (layer.opType === 'Conv') return 'dynamic quantization makes convolutions slower'
  if (role.kind === 'float') return role.reason
  return role.kind === 'layer' ? undefined : 'neither operand is constant'
}

interface Activation extends ParamNames {
  readonly values: string
}

interface Weights extends ParamNames {
  /** [..., inputs, outputs]. */
  readonly values: string
}

function addActivation(editor: GraphEditor, input: string): Activation {
  const values = editor.freshName(`${input}/quantized`)
  const scale = editor.freshName(`${input}/scale`)
  const zeroPoint = editor.freshName(`${input}/zero_point`)
  editor.add(node({ opType: 'DynamicQuantizeLinear', inputs: [input], outputs: [values, scale, zeroPoint] }))
  return { values, scale, zeroPoint }
}

function addWeights(editor: GraphEditor, { weights, axis }: Layer, options: DynamicOptions): Weights {
  const perAxis = options.perChannel ? axis : undefined
  const { values, params } = quantizeWeights(weights, {
    ...options,
    ...(perAxis === undefined ? {} : { axis: perAxis }),
  })
  // MatMulInteger has no transB.
  const isTransposed = axis === 0
  const [rows = 0, columns = 0] = weights.dims
  const name = isTransposed
    ? addValues(editor, weights.name, [columns, rows], transposed(values, rows, columns))
    : addValues(editor, weights.name, weights.dims, values)
  const dims = perAxis === undefined ? [] : [params.length]
  return { values: name, ...addParams(editor, weights.name, params, dims, values) }
}

function replaceLayer(
  editor: GraphEditor,
  layer: Node,
  activation: Activation,
  weights: Weights,
  bias: Tensor | undefined,
): void {
  const [output = ''] = layer.outputs
  const name = (part: string): string => editor.freshName(`${output}/${part}`)
  const [products, float, scale] = [name('products'), name('float'), name('scale')]
  const scaled = bias === undefined ? output : name('scaled')
  const inputs = [activation.values, weights.values, activation.zeroPoint, weights.zeroPoint]
  editor.replace(
    layer,
    node({ opType: 'MatMulInteger', name: layer.name, inputs, outputs: [products] }),
    node({ opType: 'Cast', inputs: [products], outputs: [float], attributes: { to: intValue(FLOAT) } }),
    node({ opType: 'Mul', inputs: [activation.scale, weights.scale], outputs: [scale] }),
    node({ opType: 'Mul', name: name('rescale'), inputs: [float, scale], outputs: [scaled] }),
    ...(bias === undefined
      ? []
      : [node({ opType: 'Add', name: name('bias'), inputs: [scaled, bias.name], outputs: [output] })]),
  )
}

/** TensorProto.DataType. */
const FLOAT = 1

function transposed(values: Int8Array | Uint8Array, rows: number, columns: number): Int8Array | Uint8Array {
  const result = values.slice()
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      result[column * rows + row] = values[row * columns + column] ?? 0
    }
  }
  return result
}

function nothingToQuantize(notes: readonly string[]): EdgefitError {
  return new EdgefitError(
    [
      'dynamic quantization needs a MatMul or Gemm with constant float32 weights, and the model has none',
      ...notes,
    ].join('; '),
    { code: 'MODEL_UNSUPPORTED', details: { notes } },
  )
}
