import type { Model, Node } from '@edgefit/shared/onnx'
import {
  biasObstacles,
  floatOperands,
  gemmObstacles,
  outputObstacles,
  passingObstacles,
  typeObstacles,
  weightObstacles,
} from './obstacles.ts'
import { type Destination, type QuantizedGraph, quantizedGraph } from './quantized-graph.ts'

/** What the runtime is to make of one operator that a quantized model wants computed in integers. */
export interface Prediction {
  readonly node: Node
  /** Operators that would do; none: there is no integer kernel. */
  readonly kernels: readonly string[]
  /** Names of values that such a kernel gives out, any of them. */
  readonly results: readonly string[]
  /** Rules that the operator breaks, in words: the reasons, should the runtime leave it in float. */
  readonly obstacles: readonly string[]
}

/** Every operator of the main graph that QuantizeLinear and DequantizeLinear, or MatMulInteger, mean for integers. */
export function predictKernels(model: Model): readonly Prediction[] {
  const graph = quantizedGraph(model.graph)
  return model.graph.nodes.flatMap((node) => predict(graph, node) ?? [])
}

const LIGHT: ReadonlyMap<string, readonly number[]> = new Map([
  ['Add', [0, 1]],
  ['Mul', [0, 1]],
  ['Where', [1, 2]],
  ['LeakyRelu', [0]],
  ['AveragePool', [0]],
  ['GlobalAveragePool', [0]],
  ['Sigmoid', [0]],
  ['Softmax', [0]],
])

const PASSING: ReadonlySet<string> = new Set(
  `Expand Flatten Gather GatherElements MaxPool ReduceMax ReduceMin Reshape Resize Slice Split Squeeze Tile Transpose
  Unsqueeze`.split(/\s+/),
)

/** What converts, and what the operator before it takes in. */
const NO_OPERATORS: ReadonlySet<string> = new Set(['QuantizeLinear', 'DequantizeLinear', 'Relu', 'Clip', 'Cast'])

function predict(graph: QuantizedGraph, node: Node): Prediction | undefined {
  if (node.domain !== '' || NO_OPERATORS.has(node.opType)) return undefined
  switch (node.opType) {
    case 'Conv':
      return layer(graph, node, 'QLinearConv')
    case 'Gemm':
      return layer(graph, node, 'QGemm')
    case 'MatMul':
      return isWeightOnly(graph, node) ? weightOnly(graph, node) : product(graph, node)
    case 'MatMulInteger':
      return dynamic(graph, node)
    default:
      return between(graph, node)
  }
}

/** Conv and Gemm whose weights are quantized. */
function layer(graph: QuantizedGraph, node: Node, kernel: 'QLinearConv' | 'QGemm'): Prediction | undefined {
  const [input = '', weights = ''] = node.inputs
  if (graph.dequantizer(weights) === undefined) return undefined
  const to = graph.destination(node.outputs[0] ?? '')
  return {
    node,
    kernels: [kernel],
    results: resultsOf(node, to),
    obstacles: [
      ...floatOperands(graph, node, [0]),
      ...weightObstacles(graph, node),
      ...biasObstacles(graph, node),
      ...(kernel === 'QGemm' ? gemmObstacles(node) : []),
      ...typeObstacles(graph, [input], to),
      ...outputObstacles(graph, to, kernel === 'QLinearConv'),
    ],
  }
}

function product(graph: QuantizedGraph, node: Node): Prediction | undefined {
  const [left = '', right = ''] = node.inputs
  if (graph.dequantizer(left) === undefined && graph.dequantizer(right) === undefined) return undefined
  const to = graph.destination(node.outputs[0] ?? '')
  // A product of an activation and float weights is one that was left out.
  if (graph.dequantizer(right) === undefined && graph.index.constant(right) !== undefined) return undefined
  return {
    node,
    kernels: ['QLinearMatMul', 'MatMulIntegerToFloat'],
    results: resultsOf(node, to),
    obstacles: [
      ...floatOperands(graph, node, [0, 1]),
      ...typeObstacles(graph, [left], to),
      ...outputObstacles(graph, to, false),
    ],
  }
}

function isWeightOnly(graph: QuantizedGraph, node: Node): boolean {
  const [input = '', weights = ''] = node.inputs
  return graph.dequantizer(input) === undefined && graph.dequantizer(weights) !== undefined
}

function weightOnly(graph: QuantizedGraph, node: Node): Prediction {
  const [, weights = ''] = node.inputs
  const constant = graph.quantizedConstant(weights)
  const readers = graph.index.consumers(weights).length
  return {
    node,
    kernels: ['MatMulNBits'],
    results: node.outputs,
    obstacles: [
      ...(constant === undefined ? ['its weights are not constant'] : []),
      ...(constant !== undefined && constant.dims.length !== 2 ? ['its weights are not a matrix'] : []),
      ...(readers > 1
        ? [`${readers} operators read its dequantized weights, each needs a DequantizeLinear of its own`]
        : []),
    ],
  }
}

function dynamic(graph: QuantizedGraph, node: Node): Prediction {
  const { index } = graph
  const [input = '', , zeroPoint = ''] = node.inputs
  const results: string[] = []
  let value = node.outputs[0] ?? ''
  for (const opType of ['Cast', 'Mul', 'Add']) {
    const [reader, ...others] = index.consumers(value)
    if (reader?.node.opType !== opType || others.length > 0) break
    value = reader.node.outputs[0] ?? ''
    if (opType !== 'Cast') results.push(value)
  }
  const quantizer = index.producer(input)
  return {
    node,
    kernels: ['DynamicQuantizeMatMul', 'MatMulIntegerToFloat'],
    results,
    obstacles: [
      ...(quantizer?.opType === 'DynamicQuantizeLinear'
        ? []
        : ['its activation does not come from a DynamicQuantizeLinear']),
      ...(zeroPoint === '' ? ['it has no zero point for its activation'] : []),
      ...(results.length === 0 ? ['its product is not rescaled by one Cast and one Mul alone'] : []),
    ],
  }
}

/** Operators between a DequantizeLinear and a QuantizeLinear. */
function between(graph: QuantizedGraph, node: Node): Prediction | undefined {
  const positions = node.opType === 'Concat' ? [...node.inputs.keys()] : LIGHT.get(node.opType)
  const operands = (positions ?? [0]).map((position) => node.inputs[position] ?? '')
  const isActivation = (value: string): boolean =>
    graph.dequantizer(value) !== undefined && graph.quantizedConstant(value) === undefined
  const [output = ''] = node.outputs
  const to = graph.destination(output)
  if (!operands.some(isActivation) || to.kind === 'float') return undefined
  const common = { node, results: resultsOf(node, to) }
  const shared = outputObstacles(graph, to, true)
  if (PASSING.has(node.opType)) {
    return { ...common, kernels: [node.opType], obstacles: [...passingObstacles(graph, node, to), ...shared] }
  }
  if (positions === undefined) {
    return { ...common, kernels: [], obstacles: ['the runtime has no integer kernel for it'] }
  }
  return {
    ...common,
    kernels: [`QLinear${node.opType}`],
    obstacles: [...floatOperands(graph, node, positions), ...typeObstacles(graph, operands, to), ...shared],
  }
}

function resultsOf(node: Node, to: Destination): readonly string[] {
  return to.kind === 'quantized' ? [to.by.outputs[0] ?? ''] : node.outputs.slice(0, 1)
}
