import type { Graph, Node } from './graph.ts'
import { mapSubgraphs, subgraphs } from './subgraphs.ts'
import { neededValues } from './topology.ts'

/** Every name of a value or node in `graph` and its subgraphs. */
export function namesIn(graph: Graph): Set<string> {
  const names = new Set<string>()
  collect(graph, names)
  return names
}

/** `node` reading `to` wherever it read `from`, in its subgraphs too. */
export function renameReads(node: Node, from: string, to: string): Node {
  const inputs = node.inputs.map((value) => (value === from ? to : value))
  return { ...mapSubgraphs(node, (graph) => renameCaptures(graph, from, to)), inputs }
}

function renameCaptures(graph: Graph, from: string, to: string): Graph {
  const hidden =
    graph.initializers.has(from) ||
    graph.inputs.some((input) => input.name === from) ||
    graph.nodes.some((node) => node.outputs.includes(from))
  if (hidden) return graph
  return {
    ...graph,
    nodes: graph.nodes.map((node) => (neededValues(node).includes(from) ? renameReads(node, from, to) : node)),
    outputs: graph.outputs.map((output) => (output.name === from ? { ...output, name: to } : output)),
  }
}

function collect(graph: Graph, names: Set<string>): void {
  for (const { name } of [...graph.inputs, ...graph.outputs]) names.add(name)
  for (const name of graph.initializers.keys()) names.add(name)
  for (const node of graph.nodes) {
    names.add(node.name)
    for (const value of [...node.inputs, ...node.outputs]) names.add(value)
    for (const [, inner] of subgraphs(node)) collect(inner, names)
  }
}
