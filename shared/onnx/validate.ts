import { EdgefitError } from '../errors.ts'
import type { Graph, Model, Node } from './graph.ts'
import { mapSubgraphs } from './subgraphs.ts'
import { topologicalOrder } from './topology.ts'

type Scope = (value: string) => boolean

/**
 * `model` with all its graphs in topological order, after checking that every value has exactly one origin.
 *
 * @throws EdgefitError MODEL_INVALID naming the value or the nodes.
 */
export function checkedModel(model: Model): Model {
  if (model.graph.outputs.length === 0) {
    throw invalid('the graph has no outputs; export the model again', { graph: model.graph.name })
  }
  const graph = checkedGraph(model.graph, () => false)
  return graph === model.graph ? model : { ...model, graph }
}

function checkedGraph(graph: Graph, outer: Scope): Graph {
  const origins = originsOf(graph)
  const inScope: Scope = (value) => origins.has(value) || outer(value)
  for (const node of graph.nodes) {
    for (const input of node.inputs) {
      if (input !== '' && !inScope(input)) throw unknownValue(input, `node "${node.name}" (${node.opType}) reads`)
    }
  }
  for (const { name } of graph.outputs) {
    if (!inScope(name)) throw unknownValue(name, `graph "${graph.name}" outputs`)
  }
  const nodes = topologicalOrder(graph.nodes.map((node) => checkedNode(node, inScope)))
  return nodes.every((node, position) => node === graph.nodes[position]) ? graph : { ...graph, nodes }
}

function originsOf(graph: Graph): ReadonlySet<string> {
  const origins = new Set<string>()
  const claim = (value: string, what: string): void => {
    if (origins.has(value)) {
      throw invalid(`value "${value}" is made twice, the second time by ${what}; export the model again`, { value })
    }
    origins.add(value)
  }
  for (const { name } of graph.inputs) claim(name, 'a graph input')
  // An initializer may be the default of an input.
  for (const name of graph.initializers.keys()) origins.add(name)
  for (const node of graph.nodes) {
    for (const output of node.outputs) if (output !== '') claim(output, `node "${node.name}" (${node.opType})`)
  }
  return origins
}

function checkedNode(node: Node, inScope: Scope): Node {
  if (node.opType === '')
    throw invalid(`node "${node.name}" has no op_type; export the model again`, { node: node.name })
  return mapSubgraphs(node, (graph) => checkedGraph(graph, inScope))
}

function unknownValue(value: string, reader: string): EdgefitError {
  return invalid(`${reader} "${value}", which nothing makes; export the model again`, { value })
}

function invalid(message: string, details: Readonly<Record<string, unknown>>): EdgefitError {
  return new EdgefitError(message, { code: 'MODEL_INVALID', details })
}
