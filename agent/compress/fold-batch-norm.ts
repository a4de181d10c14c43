import {
  asFloat32,
  editGraph,
  elementCount,
  floatAttribute,
  floatTensor,
  type GraphEditor,
  intAttribute,
  type Model,
  type Node,
  type Tensor,
} from '@edgefit/shared/onnx'
import { notesByReason, type PassResult } from './pass-report.ts'
import { refuseNotFinite } from './quantize-weights.ts'
import { simplify } from './simplify.ts'

/**
 * Folds every BatchNormalization into the Conv, ConvTranspose or Gemm before it:
 * `W' = W·γ/√(σ²+ε)`, `b' = β + (b − μ)·γ/√(σ²+ε)`, computed in float64.
 *
 * One that follows something else, or a layer that others read too, or that would give numbers that float32 does not
 * have, stays and is named in the notes.
 *
 * @throws EdgefitError MODEL_INVALID for weights, or a bias, that are not finite.
 */
export function foldBatchNorm(model: Model): PassResult {
  if (!model.graph.nodes.some(isBatchNorm)) return { model, notes: [] }
  const prepared = simplify(model)
  const editor = editGraph(prepared.graph)
  const left: { node: Node; reason: string }[] = []
  for (const node of editor.nodes()) {
    const reason = isBatchNorm(node) ? foldInto(editor, node) : undefined
    if (reason !== undefined) left.push({ node, reason: `not folded, ${reason}` })
  }
  editor.prune()
  const graph = editor.build()
  return { model: graph === model.graph ? model : { ...prepared, graph }, notes: notesByReason(left) }
}

function isBatchNorm(node: Node): boolean {
  return node.opType === 'BatchNormalization' && node.domain === ''
}

/** Folds `norm` away; a reason when it cannot be. */
function foldInto(editor: GraphEditor, norm: Node): string | undefined {
  const [value = '', ...parameters] = norm.inputs
  const layer = editor.producer(value)
  if (layer === undefined || !['Conv', 'ConvTranspose', 'Gemm'].includes(layer.opType) || layer.domain !== '') {
    return 'no Conv or Gemm makes its input'
  }
  if (editor.isGraphOutput(value) || editor.consumers(value).length > 1) return `others read "${value}" as well`
  const trains = intAttribute(norm, 'training_mode', 0) !== 0 || norm.outputs.slice(1).some((output) => output !== '')
  if (trains) return 'it is in training mode'
  const affine = channelAffine(
    norm,
    parameters.map((name) => editor.constant(name)),
  )
  const weights = editor.constant(layer.inputs[1] ?? '')
  const biasName = layer.inputs[2] ?? ''
  const bias = editor.constant(biasName)
  if (affine === undefined || weights?.dataType !== 'FLOAT' || (biasName !== '' && bias?.dataType !== 'FLOAT')) {
    return 'its parameters, or the weights before it, are not float32 constants'
  }
  if (layer.opType === 'Gemm' && floatAttribute(layer, 'beta', 1) !== 1) return 'the Gemm before it scales its bias'
  const channels = affine.factors.length
  if (channels !== outputChannels(layer, weights.dims)) return 'it does not have one parameter per channel'
  if (bias !== undefined && elementCount(bias.dims) !== channels) return 'the bias before it is not one per channel'

  refuseNotFinite(weights)
  if (bias !== undefined) refuseNotFinite(bias)
  const [input = '', weightsName = ''] = layer.inputs
  const scaled = scaledWeights(layer, weights, affine.factors)
  const shifted = Float32Array.from(affine.factors, (factor, channel) => {
    const before = bias === undefined ? 0 : (asFloat32(bias)[channel] ?? 0)
    return before * factor + (affine.offsets[channel] ?? 0)
  })
  if (!scaled.every(Number.isFinite) || !shifted.every(Number.isFinite)) return 'its parameters give no finite weights'
  const folded = {
    weights: floatTensor(editor.freshName(`${weightsName}/folded`), weights.dims, scaled),
    bias: floatTensor(editor.freshName(`${biasName === '' ? weightsName : biasName}/folded_bias`), [channels], shifted),
  }
  editor.setInitializer(folded.weights)
  editor.setInitializer(folded.bias)
  editor.remove(norm)
  editor.replace(layer, {
    ...layer,
    inputs: [input, folded.weights.name, folded.bias.name],
    outputs: norm.outputs.slice(0, 1),
  })
  return undefined
}

/** `norm` as `x·factor + offset` per channel. */
function channelAffine(
  norm: Node,
  parameters: readonly (Tensor | undefined)[],
): { readonly factors: Float64Array; readonly offsets: Float64Array } | undefined {
  const [gamma, beta, mean, variance] = parameters.map((tensor) =>
    tensor?.dataType === 'FLOAT' ? asFloat32(tensor) : undefined,
  )
  if (gamma === undefined || beta === undefined || mean === undefined || variance === undefined) return undefined
  const epsilon = floatAttribute(norm, 'epsilon', 1e-5)
  const factors = Float64Array.from(gamma, (value, channel) => value / Math.sqrt((variance[channel] ?? 0) + epsilon))
  const offsets = factors.map((factor, channel) => (beta[channel] ?? 0) - (mean[channel] ?? 0) * factor)
  return { factors, offsets }
}

function scaledWeights(layer: Node, weights: Tensor, factors: Float64Array): Float32Array {
  const channelOf = outputChannel(layer, weights.dims)
  return asFloat32(weights).map((weight, index) => weight * (factors[channelOf(index)] ?? 1))
}

function channelAxis(layer: Node): 0 | 1 {
  return layer.opType === 'Conv' || intAttribute(layer, 'transB', 0) !== 0 ? 0 : 1
}

function outputChannels(layer: Node, dims: readonly number[]): number {
  // The weights of a ConvTranspose are [inputs, outputs per group, ...kernel].
  const groups = layer.opType === 'ConvTranspose' ? intAttribute(layer, 'group', 1) : 1
  return (dims[channelAxis(layer)] ?? 0) * groups
}

/** The output channel that the weight at a row-major index belongs to. */
function outputChannel(layer: Node, dims: readonly number[]): (index: number) => number {
  const axis = channelAxis(layer)
  const inner = elementCount(dims.slice(axis + 1))
  const length = dims[axis] ?? 1
  if (layer.opType !== 'ConvTranspose') return (index) => Math.floor(index / inner) % length
  // The inputs of one group lie together.
  const inputsPerGroup = (dims[0] ?? 1) / intAttribute(layer, 'group', 1)
  return (index) => {
    const input = Math.floor(index / (inner * length))
    return Math.floor(input / inputsPerGroup) * length + (Math.floor(index / inner) % length)
  }
}
