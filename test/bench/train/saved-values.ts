import { elementCount, indexGraph, inferShapes, type Model } from '@edgefit/shared/onnx'

/** These hand on the memory of what they read. */
const SHARING: ReadonlySet<string> = new Set(['Reshape', 'Identity', 'Flatten', 'Squeeze', 'Unsqueeze'])

/**
 * Bytes of the float32 values that are computed on the way to `loss` and read by nodes that are not on it: what the way
 * back has to have saved, beside weights and samples.
 */
export function savedBytes(step: Model, loss: string): number {
  const model = inferShapes(step)
  const index = indexGraph(model.graph)
  const forward = new Set<string>()
  const open = [loss]
  for (let value = open.pop(); value !== undefined; value = open.pop()) {
    if (forward.has(value)) continue
    forward.add(value)
    open.push(...(index.producer(value)?.inputs ?? []))
  }
  const origin = (value: string): string => {
    const producer = index.producer(value)
    return producer !== undefined && SHARING.has(producer.opType) ? origin(producer.inputs[0] ?? '') : value
  }
  const saved = new Set<string>()
  for (const node of model.graph.nodes) {
    if (node.outputs.some((output) => forward.has(output))) continue
    for (const value of node.inputs.filter((input) => forward.has(input)).map(origin)) {
      if (index.producer(value) !== undefined) saved.add(value)
    }
  }
  return [...saved].reduce((sum, value) => sum + 4 * elementCount((index.shapeOf(value) ?? []).map(Number)), 0)
}
