import { elementCount, floatTensor, indexGraph, type Model, type Node } from '@edgefit/shared/onnx'
import { normalQuantile, seededRandom } from '@edgefit/shared/stats'
import { type TrainableWeight, trainableWeights } from '../train/trainable.ts'

/**
 * `model` with every weight that training can change drawn anew: kernels, matrices and embeddings from a normal distribution
 * of variance 2 / fan-in, biases and shifts 0, scales of normalizations 1 with the statistics of inputs that need none, slopes
 * 0.25 (He et al., arXiv 1502.01852). The same seed gives the same weights anywhere.
 *
 * @throws EdgefitError MODEL_UNSUPPORTED when the model has no such weight.
 */
export function drawWeights(model: Model, seed: number): Model {
  const random = seededRandom(seed)
  // Never 0, whose quantile is infinite.
  const normal = (): number => normalQuantile(Math.max(random(), Number.MIN_VALUE))
  const initializers = new Map(model.graph.initializers)
  const weights = trainableWeights(model, { kind: 'all' })
  for (const weight of weights) {
    const scale = Math.sqrt(2 / fanInOf(weight))
    const values = new Float32Array(elementCount(weight.dims))
    initializers.set(
      weight.name,
      floatTensor(weight.name, weight.dims, weight.decays ? values.map(() => normal() * scale) : values),
    )
  }
  const index = indexGraph(model.graph)
  const fill = (name: string | undefined, value: number): void => {
    const tensor = name === undefined ? undefined : index.initializer(name)
    if (tensor?.dataType !== 'FLOAT') return
    const values = new Float32Array(elementCount(tensor.dims)).fill(value)
    initializers.set(tensor.name, floatTensor(tensor.name, tensor.dims, values))
  }
  for (const node of model.graph.nodes) {
    for (const [at, value] of constantsOf(node)) fill(node.inputs[at], value)
  }
  return { ...model, graph: { ...model.graph, initializers } }
}

function fanInOf({ dims, channelAxis }: TrainableWeight): number {
  return Math.max(1, elementCount(dims) / (dims[channelAxis] ?? 1))
}

/** Positions of parameters that are neither drawn nor zero, with what they are. */
function constantsOf({ domain, opType }: Node): readonly (readonly [at: number, value: number])[] {
  if (domain !== '') return []
  switch (opType) {
    case 'LayerNormalization':
      return [[1, 1]]
    case 'BatchNormalization':
      return [
        [1, 1],
        [3, 0],
        [4, 1],
      ]
    case 'PRelu':
      return [[1, 0.25]]
    default:
      return []
  }
}
