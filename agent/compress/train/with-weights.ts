import { floatTensor, type Model } from '@edgefit/shared/onnx'
import type { Numbers } from './run-step.ts'

/** `model` with other values for the initializers that `weights` names. */
export function withWeights(model: Model, weights: Numbers): Model {
  const initializers = new Map(model.graph.initializers)
  for (const [name, values] of weights) {
    const before = initializers.get(name)
    if (before !== undefined) initializers.set(name, floatTensor(name, before.dims, values))
  }
  return { ...model, graph: { ...model.graph, initializers } }
}
