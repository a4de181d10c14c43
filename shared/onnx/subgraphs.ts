import type { Attribute, Graph, Node } from './graph.ts'

/** The subgraphs of control flow operators (If, Loop, Scan) with the name of their attribute. */
export function subgraphs(of: Node): readonly (readonly [attribute: string, graph: Graph])[] {
  const found: (readonly [string, Graph])[] = []
  for (const [name, attribute] of of.attributes) {
    if (attribute.kind === 'GRAPH') found.push([name, attribute.value])
    else if (attribute.kind === 'GRAPHS') for (const graph of attribute.value) found.push([name, graph])
  }
  return found
}

/** `node` with each subgraph changed; the same object when `change` gives back what it got. */
export function mapSubgraphs(node: Node, change: (graph: Graph, attribute: string) => Graph): Node {
  if (subgraphs(node).length === 0) return node
  let changed = false
  const attributes = new Map(
    [...node.attributes].map(([name, attribute]): [string, Attribute] => {
      const visit = (graph: Graph): Graph => {
        const next = change(graph, name)
        changed ||= next !== graph
        return next
      }
      if (attribute.kind === 'GRAPH') return [name, { ...attribute, value: visit(attribute.value) }]
      return [name, attribute.kind === 'GRAPHS' ? { ...attribute, value: attribute.value.map(visit) } : attribute]
    }),
  )
  return changed ? { ...node, attributes } : node
}
