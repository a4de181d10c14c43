import { EdgefitError } from '@edgefit/shared'
import type { Graph, Node } from '@edgefit/shared/onnx'

/** What recipes and notes call a node: its name, or its first output where it has none. */
export function nodeLabel(node: Node): string {
  return node.name === '' ? (node.outputs[0] ?? node.opType) : node.name
}

/** @throws EdgefitError RECIPE_INVALID when `exclude` has a label that no node of `graph` has. */
export function refuseUnknownNodes(graph: Graph, exclude: readonly string[]): void {
  const labels = new Set(graph.nodes.map(nodeLabel))
  const unknown = exclude.filter((label) => !labels.has(label))
  if (unknown.length === 0) return
  throw new EdgefitError(
    `exclude names ${unknown.map((label) => `"${label}"`).join(', ')}, which the model does not have; use the names of its nodes`,
    { code: 'RECIPE_INVALID', details: { unknown } },
  )
}
