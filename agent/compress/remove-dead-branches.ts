import {
  type Graph,
  type GraphEditor,
  type Model,
  node as makeNode,
  type Node,
  renameReads,
  subgraphs,
} from '@edgefit/shared/onnx'
import { nodeLabel } from './node-label.ts'
import type { PassResult } from './pass-report.ts'
import { rewriteGraphs, type Scope } from './rewrite-graphs.ts'

/**
 * Puts the branch that an If always takes in its place, where its condition is a constant, and takes out nodes whose
 * results nothing needs and initializers that nothing reads, in subgraphs too.
 */
export function removeDeadBranches(model: Model): PassResult {
  const inlined: string[] = []
  const without = rewriteGraphs(model, (editor, scope) => {
    // An inlined branch may hold another.
    for (let found = true; found; ) {
      found = false
      for (const node of editor.nodes()) {
        const branch = certainBranch(node, scope)
        if (branch === undefined) continue
        inlineBranch(editor, node, branch)
        inlined.push(nodeLabel(node))
        found = true
      }
    }
    editor.prune()
  })
  const names = inlined.map((name) => `"${name}"`).join(', ')
  return {
    model: without,
    notes: inlined.length === 0 ? [] : [`If ${names}: the branch that its condition always takes stands in its place`],
  }
}

function certainBranch(node: Node, { constant }: Scope): Graph | undefined {
  if (node.domain !== '' || node.opType !== 'If') return undefined
  const condition = constant(node.inputs[0] ?? '')
  if (condition?.dataType !== 'BOOL' || condition.data.length !== 1) return undefined
  const taken = condition.data[0] === 0 ? 'else_branch' : 'then_branch'
  return subgraphs(node).find(([name]) => name === taken)?.[1]
}

/** The nodes of `branch` in the place of `node`, under names that are free; what the If gave out comes from an Identity. */
function inlineBranch(editor: GraphEditor, node: Node, branch: Graph): void {
  const renamed = new Map<string, string>()
  const own = [...branch.initializers.keys(), ...branch.nodes.flatMap(({ outputs }) => outputs)]
  for (const name of own) if (name !== '') renamed.set(name, editor.freshName(`${nodeLabel(node)}/${name}`))
  const nameOf = (name: string): string => renamed.get(name) ?? name

  for (const tensor of branch.initializers.values()) editor.setInitializer({ ...tensor, name: nameOf(tensor.name) })
  for (const info of branch.valueInfo.values()) {
    if (renamed.has(info.name)) editor.setValueInfo({ ...info, name: nameOf(info.name) })
  }
  const nodes = branch.nodes.map((inner) => {
    const read = new Set(inner.inputs)
    const rewired = [...renamed].reduce(
      (rewritten, [from, to]) =>
        read.has(from) || subgraphs(inner).length > 0 ? renameReads(rewritten, from, to) : rewritten,
      inner,
    )
    // The runtime wants names of nodes to be unique, where they have one.
    const name = inner.name === '' ? '' : editor.freshName(`${nodeLabel(node)}/${inner.name}`)
    return { ...rewired, name, outputs: inner.outputs.map(nameOf) }
  })
  const results = branch.outputs.map(({ name }, position) =>
    makeNode({ opType: 'Identity', inputs: [nameOf(name)], outputs: [node.outputs[position] ?? ''] }),
  )
  editor.replace(node, ...nodes, ...results.filter(({ outputs }) => outputs[0] !== ''))
}
