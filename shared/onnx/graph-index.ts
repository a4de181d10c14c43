import { tensorAttribute } from './attributes.ts'
import type { Graph, Node, Shape, Tensor, TensorType } from './graph.ts'
import { capturedValues } from './topology.ts'

export interface Use {
  readonly node: Node
  /** Position in `node.inputs`; absent when a subgraph of `node` captures the value. */
  readonly input?: number
}

/** Who makes and who reads each value of one graph. */
export interface GraphIndex {
  producer(value: string): Node | undefined
  /** Every use by a node, in graph order; a node that reads the value twice is there twice. Graph outputs are not uses. */
  consumers(value: string): readonly Use[]
  isGraphInput(value: string): boolean
  isGraphOutput(value: string): boolean
  initializer(value: string): Tensor | undefined
  /** The value's tensor when it is an initializer or made by a Constant node. */
  constant(value: string): Tensor | undefined
  typeOf(value: string): TensorType | undefined
  /** `undefined` when even the rank is unknown. */
  shapeOf(value: string): Shape | undefined
}

/** Builds the index in one walk over `graph`. */
export function indexGraph(graph: Graph): GraphIndex {
  const producers = new Map<string, Node>()
  const uses = new Map<string, Use[]>()
  for (const node of graph.nodes) {
    for (const output of node.outputs) if (output !== '') producers.set(output, node)
    for (const [input, value] of node.inputs.entries()) if (value !== '') addUse(uses, value, { node, input })
    for (const value of capturedValues(node)) addUse(uses, value, { node })
  }
  const inputs = new Map(graph.inputs.map((info) => [info.name, info]))
  const outputs = new Map(graph.outputs.map((info) => [info.name, info]))

  function constant(value: string): Tensor | undefined {
    const producer = producers.get(value)
    return producer === undefined ? graph.initializers.get(value) : constantOf(producer)
  }

  function typeOf(value: string): TensorType | undefined {
    const info = graph.valueInfo.get(value) ?? inputs.get(value) ?? outputs.get(value)
    if (info?.type?.kind === 'tensor') return info.type
    const tensor = constant(value)
    return tensor === undefined ? undefined : { kind: 'tensor', dataType: tensor.dataType, shape: tensor.dims }
  }

  return {
    producer: (value) => producers.get(value),
    consumers: (value) => uses.get(value) ?? [],
    isGraphInput: (value) => inputs.has(value),
    isGraphOutput: (value) => outputs.has(value),
    initializer: (value) => graph.initializers.get(value),
    constant,
    typeOf,
    shapeOf: (value) => typeOf(value)?.shape,
  }
}

/** The tensor that a Constant node makes, when it is stored as one. */
export function constantOf(node: Node): Tensor | undefined {
  return node.opType === 'Constant' && node.domain === '' ? tensorAttribute(node, 'value') : undefined
}

function addUse(uses: Map<string, Use[]>, value: string, use: Use): void {
  const list = uses.get(value)
  if (list === undefined) uses.set(value, [use])
  else list.push(use)
}
