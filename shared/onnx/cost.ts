import { intAttribute, stringAttribute } from './attributes.ts'
import type { Graph, Model, Node, Shape, TensorType } from './graph.ts'
import { type GraphIndex, indexGraph } from './graph-index.ts'
import { inferShapes } from './shape-inference.ts'
import { asNumbers } from './shapes/dims.ts'
import { subgraphs } from './subgraphs.ts'
import { dataSizeBytes, elementCount } from './tensor.ts'

export interface NodeCost {
  readonly node: Node
  /** Multiply-accumulates of Conv, ConvTranspose, Gemm, MatMul, LSTM, GRU, RNN and their integer forms; 0 for others. */
  readonly macs: number
  /** Elements of all outputs: the work of an elementwise operator. */
  readonly outputElements: number
  /** Bytes of constant inputs. */
  readonly weightBytes: number
  /** Bytes of all outputs. */
  readonly activationBytes: number
}

export interface ModelCost {
  readonly macs: number
  readonly outputElements: number
  /** Every constant once, however many nodes read it. */
  readonly weightBytes: number
  /** Bytes of all values made during one run, without reuse. */
  readonly activationBytes: number
  /** In graph order, without constants and without the nodes of `unknown`. */
  readonly nodes: readonly NodeCost[]
  /** Nodes whose cost needs lengths that are not known; nothing of them is in the totals. */
  readonly unknown: readonly Node[]
}

/**
 * What one run computes and moves, from shapes alone. Bind symbolic dimensions first (`bindDimensions`), or most nodes
 * end up in `unknown`. An If counts as its costlier branch.
 */
export function modelCost(model: Model): ModelCost {
  return graphCost(inferShapes(model).graph, () => undefined)
}

/** Bytes of the initializers of this graph alone. */
export function initializerBytes(graph: Graph): number {
  return sum([...graph.initializers.values()], ({ data }) => data.byteLength)
}

type Outer = (value: string) => TensorType | undefined

function graphCost(graph: Graph, outer: Outer): ModelCost {
  const index = indexGraph(graph)
  const typeOf: Outer = (value) => index.typeOf(value) ?? outer(value)
  const nodes: NodeCost[] = []
  const unknown: Node[] = []
  for (const node of graph.nodes) {
    if (node.opType === 'Constant') continue
    const cost = node.opType === 'If' ? costlierBranch(node, typeOf) : nodeCost(node, index, typeOf)
    if (cost === undefined) unknown.push(node)
    else nodes.push(cost)
  }
  return {
    macs: sum(nodes, (cost) => cost.macs),
    outputElements: sum(nodes, (cost) => cost.outputElements),
    weightBytes: constantBytes(graph, index) + sum(nodes, (cost) => (cost.node.opType === 'If' ? cost.weightBytes : 0)),
    activationBytes: sum(nodes, (cost) => cost.activationBytes),
    nodes,
    unknown,
  }
}

function costlierBranch(node: Node, outer: Outer): NodeCost | undefined {
  const [left, right] = subgraphs(node).map(([, branch]) => graphCost(branch, outer))
  if (left === undefined || right === undefined) return undefined
  const { macs, outputElements, weightBytes, activationBytes, unknown } = left.macs >= right.macs ? left : right
  return unknown.length > 0 ? undefined : { node, macs, outputElements, weightBytes, activationBytes }
}

function nodeCost(node: Node, index: GraphIndex, typeOf: Outer): NodeCost | undefined {
  const types = node.outputs.filter((output) => output !== '').map(typeOf)
  const macs = macsOf(node, (value) => asNumbers(typeOf(value)?.shape))
  if (macs === undefined || types.length === 0) return undefined
  let outputElements = 0
  let activationBytes = 0
  for (const type of types) {
    const dims = asNumbers(type?.shape)
    if (type === undefined || dims === undefined) return undefined
    outputElements += elementCount(dims)
    activationBytes += dataSizeBytes(type.dataType, dims)
  }
  const weightBytes = sum(node.inputs, (value) => index.constant(value)?.data.byteLength ?? 0)
  return { node, macs, outputElements, weightBytes, activationBytes }
}

type ShapeOf = (value: string) => readonly number[] | undefined

/** `undefined` when the lengths it takes are not known. */
function macsOf(node: Node, shapeOf: ShapeOf): number | undefined {
  if (node.domain !== '') return 0
  const input = (position: number): readonly number[] | undefined => shapeOf(node.inputs[position] ?? '')
  const output = shapeOf(node.outputs[0] ?? '')
  switch (node.opType) {
    case 'Conv':
    case 'ConvInteger':
      return perElement(output, input(1)?.slice(1))
    case 'QLinearConv':
      return perElement(output, input(3)?.slice(1))
    case 'ConvTranspose':
      // Every input element meets the kernels of its group.
      return perElement(input(0), input(1)?.slice(1))
    case 'Gemm':
      return perElement(
        output,
        input(0)
          ?.slice(intAttribute(node, 'transA', 0) === 0 ? 1 : 0)
          .slice(0, 1),
      )
    case 'MatMul':
    case 'MatMulInteger':
    case 'QLinearMatMul':
      return perElement(output, input(0)?.slice(-1))
    case 'LSTM':
      return recurrentMacs(node, input, 4)
    case 'GRU':
      return recurrentMacs(node, input, 3)
    case 'RNN':
      return recurrentMacs(node, input, 1)
    default:
      return 0
  }
}

function perElement(elements: Shape | undefined, each: Shape | undefined): number | undefined {
  const counts = asNumbers(elements)
  const terms = asNumbers(each)
  return counts && terms && elementCount(counts) * elementCount(terms)
}

function recurrentMacs(
  node: Node,
  input: (position: number) => readonly number[] | undefined,
  gates: number,
): number | undefined {
  const [first, second, width] = input(0) ?? []
  const hidden = input(2)?.[2]
  if (first === undefined || second === undefined || width === undefined || hidden === undefined) return undefined
  const directions = stringAttribute(node, 'direction', 'forward') === 'bidirectional' ? 2 : 1
  return first * second * directions * gates * hidden * (width + hidden)
}

/** Initializers, and what Constant nodes make. */
function constantBytes(graph: Graph, index: GraphIndex): number {
  const made = graph.nodes.filter((node) => node.opType === 'Constant')
  return initializerBytes(graph) + sum(made, (node) => index.constant(node.outputs[0] ?? '')?.data.byteLength ?? 0)
}

function sum<Item>(items: readonly Item[], of: (item: Item) => number): number {
  return items.reduce((total, item) => total + of(item), 0)
}
