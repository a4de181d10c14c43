import { EdgefitError } from '@edgefit/shared'
import type { Training } from '@edgefit/shared/model'
import { type GraphIndex, indexGraph, intAttribute, type Model, type Node } from '@edgefit/shared/onnx'

export type TrainableScope = Training['trainable']

export interface TrainableWeight {
  readonly name: string
  readonly dims: readonly number[]
  /** A matrix or kernel, which weight decay is for; biases and normalizations are not. */
  readonly decays: boolean
  /** Axis that counts output channels. */
  readonly channelAxis: number
  /** Known where it is asked for. */
  readonly removable?: RemovableChannels
}

/** Where on one axis of a weight lie channels that pruning can remove. */
export interface RemovableChannels {
  readonly axis: number
  /** By position: the number of its channel, the same in all weights; -1 where it has to stay. */
  readonly numbers: Int32Array
  /** First number and one past the last of all channels of a layer, which these are among. */
  readonly spans: readonly (readonly [first: number, end: number])[]
}

/**
 * Weights of layers: initializers of float32 where an operator takes its parameters. Numbers that are part of the
 * computation rather than learned (input normalization, masks) are not among them. A weight that several nodes read is
 * there once, and gets the sum of their gradients.
 *
 * @throws EdgefitError MODEL_UNSUPPORTED when there is none.
 */
export function trainableWeights(model: Model, scope: TrainableScope): readonly TrainableWeight[] {
  const index = indexGraph(model.graph)
  const layers = model.graph.nodes.flatMap((node) => {
    const weights = weightsOf(index, node)
    return weights.length === 0 ? [] : [{ node, weights }]
  })
  const chosen = scope.kind === 'last-layers' ? lastLayers(layers, scope.layers) : layers
  const found = new Map<string, TrainableWeight>()
  for (const { weights } of chosen) {
    for (const weight of weights) {
      if (scope.kind !== 'biases-and-norms' || !weight.decays) found.set(weight.name, weight)
    }
  }
  if (found.size > 0) return [...found.values()]
  throw new EdgefitError(
    `the model has no weight to train${scope.kind === 'all' ? '' : ` in the scope ${scope.kind}`}: no layer reads a float32 initializer; ` +
      'train before quantizing, or choose another scope',
    { code: 'MODEL_UNSUPPORTED' },
  )
}

interface WeightedLayer {
  readonly node: Node
  readonly weights: readonly TrainableWeight[]
}

/** Counted by nodes with a matrix or kernel; normalizations and added biases behind the first of them are part of it. */
function lastLayers(layers: readonly WeightedLayer[], count: number): readonly WeightedLayer[] {
  const heavy = layers.flatMap(({ weights }, at) => (weights.some(({ decays }) => decays) ? [at] : []))
  const first = heavy[heavy.length - count]
  return first === undefined ? layers : layers.slice(first)
}

/** Operator → position of a parameter, whether it decays, and its axis of output channels; negative from the end. */
const PARAMETERS: Readonly<Record<string, readonly { at: number; decays: boolean; axis: number }[]>> = {
  Conv: [
    { at: 1, decays: true, axis: 0 },
    { at: 2, decays: false, axis: 0 },
  ],
  ConvTranspose: [
    { at: 1, decays: true, axis: 1 },
    { at: 2, decays: false, axis: 0 },
  ],
  Gemm: [
    { at: 1, decays: true, axis: 1 },
    { at: 2, decays: false, axis: 0 },
  ],
  MatMul: [
    { at: 0, decays: true, axis: -2 },
    { at: 1, decays: true, axis: -1 },
  ],
  LayerNormalization: [
    { at: 1, decays: false, axis: 0 },
    { at: 2, decays: false, axis: 0 },
  ],
  BatchNormalization: [
    { at: 1, decays: false, axis: 0 },
    { at: 2, decays: false, axis: 0 },
  ],
  PRelu: [{ at: 1, decays: false, axis: 0 }],
  /** An embedding, by its rows. */
  Gather: [{ at: 0, decays: true, axis: 0 }],
}

function weightsOf(index: GraphIndex, node: Node): readonly TrainableWeight[] {
  if (node.domain !== '') return []
  if (node.opType === 'Add') return addedBias(index, node)
  return (PARAMETERS[node.opType] ?? []).flatMap(({ at, decays, axis }) => {
    const weight = floatInitializer(index, node.inputs[at])
    if (weight === undefined) return []
    const transposed = node.opType === 'Gemm' && at === 1 && intAttribute(node, 'transB', 0) !== 0
    const rank = weight.dims.length
    const channelAxis = transposed ? 0 : Math.min(axis < 0 ? Math.max(0, rank + axis) : axis, rank - 1)
    return [{ ...weight, decays, channelAxis }]
  })
}

/** Exporters write the bias of a product with more than two dimensions as an Add behind it. */
function addedBias(index: GraphIndex, { inputs }: Node): readonly TrainableWeight[] {
  return inputs.flatMap((value, at) => {
    const weight = floatInitializer(index, value)
    const product = index.producer(inputs[1 - at] ?? '')
    if (weight?.dims.length !== 1 || product?.opType !== 'MatMul') return []
    return [{ ...weight, decays: false, channelAxis: 0 }]
  })
}

function floatInitializer(
  index: GraphIndex,
  value: string | undefined,
): { readonly name: string; readonly dims: readonly number[] } | undefined {
  if (value === undefined || value === '' || index.isGraphInput(value) || index.isGraphOutput(value)) return undefined
  const tensor = index.initializer(value)
  return tensor?.dataType === 'FLOAT' ? { name: value, dims: tensor.dims } : undefined
}
