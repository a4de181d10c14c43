import type { Model } from '@edgefit/shared/onnx'

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
  /** Of the constants of the main graph, in bytes. */
  readonly bytesBefore: number
  readonly bytesAfter: number
  readonly notes: readonly string[]
}

export function passReport(pass: string, before: Model, { model: after, notes }: PassResult): PassReport {
  return {
    pass,
    nodesBefore: before.graph.nodes.length,
    nodesAfter: after.graph.nodes.length,
    bytesBefore: constantBytes(before),
    bytesAfter: constantBytes(after),
    notes,
  }
}

function constantBytes({ graph }: Model): number {
  let sizeBytes = 0
  for (const tensor of graph.initializers.values()) sizeBytes += tensor.data.byteLength
  return sizeBytes
}
