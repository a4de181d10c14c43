import { EdgefitError } from '../errors.ts'
import type { Graph, Node } from './graph.ts'
import { subgraphs } from './subgraphs.ts'

const NOTHING: ReadonlySet<string> = new Set()

/** Values of enclosing graphs that the subgraphs of `node` read (If, Loop and Scan capture by name). */
export function capturedValues(node: Node): ReadonlySet<string> {
  const inner = subgraphs(node)
  if (inner.length === 0) return NOTHING
  return new Set(inner.flatMap(([, graph]) => freeValues(graph)))
}

/** All values `node` needs: inputs that are present, and captures. */
export function neededValues(node: Node): readonly string[] {
  const inputs = node.inputs.filter((value) => value !== '')
  const captures = capturedValues(node)
  return captures.size === 0 ? inputs : [...inputs, ...captures]
}

/**
 * `nodes` so that producers come before consumers, otherwise in the given order; the same array when it already is so.
 * Linear in nodes and edges.
 *
 * @throws EdgefitError MODEL_INVALID naming the nodes of a cycle.
 */
export function topologicalOrder(nodes: readonly Node[]): readonly Node[] {
  const producers = new Map<string, Node>()
  for (const node of nodes) for (const output of node.outputs) if (output !== '') producers.set(output, node)

  const sorted: Node[] = []
  const state = new Map<Node, 'open' | 'done'>()
  for (const root of nodes) {
    if (state.has(root)) continue
    const path = [{ node: root, pending: neededValues(root).values() }]
    state.set(root, 'open')
    for (let top = path.at(-1); top !== undefined; top = path.at(-1)) {
      const next = top.pending.next()
      if (next.done === true) {
        state.set(top.node, 'done')
        sorted.push(top.node)
        path.pop()
        continue
      }
      const producer = producers.get(next.value)
      if (producer === undefined || state.get(producer) === 'done') continue
      if (state.get(producer) === 'open')
        throw cycle(
          path.map((entry) => entry.node),
          producer,
        )
      state.set(producer, 'open')
      path.push({ node: producer, pending: neededValues(producer).values() })
    }
  }
  return sorted.every((node, position) => node === nodes[position]) ? nodes : sorted
}

function freeValues(graph: Graph): readonly string[] {
  const own = new Set([...graph.inputs.map((input) => input.name), ...graph.initializers.keys()])
  for (const node of graph.nodes) for (const output of node.outputs) own.add(output)
  const read = [...graph.nodes.flatMap(neededValues), ...graph.outputs.map((output) => output.name)]
  return read.filter((value) => !own.has(value))
}

function cycle(path: readonly Node[], again: Node): EdgefitError {
  const nodes = path
    .slice(path.indexOf(again))
    .map((node) => `${node.opType} "${node.name || (node.outputs[0] ?? '')}"`)
  return new EdgefitError(`nodes depend on each other in a circle: ${nodes.join(' → ')}; export the model again`, {
    code: 'MODEL_INVALID',
    details: { nodes },
  })
}
