import { initializerBytes, type Model, type Node } from '@edgefit/shared/onnx'
import { nodeLabel } from './node-label.ts'

/** What a pass makes of a model. `notes` are for people: what was left alone, and why. */
export interface PassResult {
  /** The very object that was given when nothing changed. */
  readonly model: Model
  readonly notes: readonly string[]
}

export interface PassReport {
  /** As in the recipe. */
  readonly pass: string
  readonly nodesBefore: number
  readonly nodesAfter: number
  /** Of the initializers of the main graph. */
  readonly bytesBefore: number
  readonly bytesAfter: number
  readonly notes: readonly string[]
}

export function passReport(pass: string, before: Model, { model: after, notes }: PassResult): PassReport {
  return {
    pass,
    nodesBefore: before.graph.nodes.length,
    nodesAfter: after.graph.nodes.length,
    bytesBefore: initializerBytes(before.graph),
    bytesAfter: initializerBytes(after.graph),
    notes,
  }
}

const NAMED = 8

/** What stays as it is and why, the nodes of one reason in one line. */
export function notesByReason(left: readonly { readonly node: Node; readonly reason: string }[]): readonly string[] {
  const groups = new Map<string, Node[]>()
  for (const { node, reason } of left) {
    const key = `${node.opType}\n${reason}`
    const group = groups.get(key)
    if (group === undefined) groups.set(key, [node])
    else group.push(node)
  }
  return [...groups].map(([key, nodes]) => {
    const [opType = '', reason = ''] = key.split('\n')
    const names = nodes.slice(0, NAMED).map((node) => `"${nodeLabel(node)}"`)
    const more = nodes.length > NAMED ? ` and ${nodes.length - NAMED} more` : ''
    return `${opType} ${names.join(', ')}${more}: ${reason}`
  })
}
