import { dataSizeBytes, type GraphIndex, indexGraph, inferShapes, type Model } from '@edgefit/shared/onnx'

/** These hand on what they get as it lies in memory. */
const IN_PLACE: ReadonlySet<string> = new Set('Flatten Identity Reshape Squeeze Unsqueeze'.split(' '))

/**
 * Bytes that a model with fixed shapes holds at its peak while it runs, its nodes in the order they are in: constants,
 * inputs, outputs, and of what nodes made, all that is still to be read.
 */
export function peakBytes(model: Model): number {
  const { graph } = inferShapes(model)
  const index = indexGraph(graph)
  const roots = new Map<string, string>()
  const rootOf = (value: string): string => roots.get(value) ?? value
  const lastReads = new Map<string, number>()
  for (const [at, { opType, inputs, outputs }] of graph.nodes.entries()) {
    if (IN_PLACE.has(opType)) roots.set(outputs[0] ?? '', rootOf(inputs[0] ?? ''))
    for (const value of inputs) lastReads.set(rootOf(value), at)
  }
  for (const { name } of graph.outputs) lastReads.set(rootOf(name), graph.nodes.length)

  const always = [...graph.initializers.keys(), ...graph.inputs.map(({ name }) => name)]
  let heldBytes = always.reduce((sum, value) => sum + sizeBytes(index, value), 0)
  let peak = heldBytes
  for (const [at, { inputs, outputs }] of graph.nodes.entries()) {
    const made = outputs.filter((value) => value !== '' && !roots.has(value))
    for (const value of made) heldBytes += sizeBytes(index, value)
    peak = Math.max(peak, heldBytes)
    const roots_ = new Set([...inputs.map(rootOf), ...made])
    for (const root of roots_) {
      if ((lastReads.get(root) ?? at) === at && index.producer(root) !== undefined) heldBytes -= sizeBytes(index, root)
    }
  }
  return peak
}

function sizeBytes(index: GraphIndex, value: string): number {
  const type = index.typeOf(value)
  if (type?.kind !== 'tensor') return 0
  return dataSizeBytes(
    type.dataType,
    (type.shape ?? []).map((dim) => Number(dim)),
  )
}
