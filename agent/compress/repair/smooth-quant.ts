import {
  asFloat32,
  editGraph,
  elementCount,
  floatTensor,
  type GraphEditor,
  intAttribute,
  type Model,
  type Node,
  type Tensor,
} from '@edgefit/shared/onnx'
import { notesByReason, type PassResult } from '../pass-report.ts'
import { refuseNotFinite } from '../quantize-weights.ts'
import { simplify } from '../simplify.ts'
import { type ChannelNumbers, numbersFor, refuseForeignNumbers } from './channel-numbers.ts'
import type { ChannelRequest } from './collect-channels.ts'
import { forEachWeight, type LinearLayer, linearLayer, scaleLayer, setOperand } from './linear-layer.ts'

export interface Smoothing {
  /** The model to observe. */
  readonly prepared: Model
  /** Largest magnitudes that {@link Smoothing.apply} wants. */
  readonly observe: readonly ChannelRequest[]
  /** `maxima`: by value, as `observe` lists them. @throws EdgefitError RECIPE_INVALID when they are others. */
  apply(maxima: ChannelNumbers): PassResult
}

/**
 * SmoothQuant: moves outliers of the activations into the weights. The outputs of a LayerNormalization are divided, and
 * the weights of the products that read them multiplied, by `s_j = max|X_j|^α / max|W_j|^(1−α)` per channel.
 *
 * Requires float32 products with constant weights, and that nothing else reads the normalization; ensures the outputs of
 * before but for rounding.
 *
 * Formula: Xiao et al., SmoothQuant (arXiv 2211.10438).
 *
 * @throws EdgefitError MODEL_INVALID for weights that are not finite.
 */
export function smoothQuant(model: Model, alpha: number): Smoothing {
  const prepared = simplify(model)
  const { joints, left } = findJoints(editGraph(prepared.graph))
  const skipped = notesByReason(left)
  return {
    prepared,
    observe: joints.map(({ value, channels }) => ({ value, channels, channelAxis: -1, statistic: 'maxMagnitude' })),
    apply(maxima) {
      refuseForeignNumbers(
        maxima,
        joints.map(({ value }) => value),
        'maxima',
      )
      if (joints.length === 0) return { model, notes: ['no normalization to smooth', ...skipped] }
      const editor = editGraph(prepared.graph)
      for (const joint of joints)
        smooth(editor, joint, numbersFor(maxima, joint.value, joint.channels, 'maxima'), alpha)
      editor.prune()
      const summary = `${joints.length} normalizations smoothed`
      return { model: { ...prepared, graph: editor.build() }, notes: [summary, ...skipped] }
    },
  }
}

/** A normalization and the products that alone read it. */
interface Joint {
  readonly value: string
  readonly channels: number
  readonly norm: Node
  readonly affine: readonly Tensor[]
  readonly layers: readonly LinearLayer[]
}

function findJoints(editor: GraphEditor): {
  readonly joints: readonly Joint[]
  readonly left: readonly { readonly node: Node; readonly reason: string }[]
} {
  const joints: Joint[] = []
  const left: { node: Node; reason: string }[] = []
  for (const norm of editor.nodes()) {
    if (norm.opType !== 'LayerNormalization' || norm.domain !== '') continue
    const joint = jointAt(editor, norm)
    if (typeof joint === 'string') left.push({ node: norm, reason: `not smoothed, ${joint}` })
    else joints.push(joint)
  }
  return { joints, left }
}

/** A reason when `norm` cannot be smoothed. */
function jointAt(editor: GraphEditor, norm: Node): Joint | string {
  const [value = ''] = norm.outputs
  const affine = norm.inputs.slice(1).map((name) => editor.constant(name))
  const known = affine.filter((tensor) => tensor?.dataType === 'FLOAT')
  const channels = elementCount(known[0]?.dims ?? [])
  const fits = known.length === affine.length && known.every((tensor) => tensor?.dims.length === 1)
  if (intAttribute(norm, 'axis', -1) !== -1 || !fits) return 'its parameters are not constants per channel'
  const readers = editor.consumers(value)
  const layers = readers.flatMap((node) => {
    const layer = node.opType === 'Conv' || node.inputs[0] !== value ? undefined : linearLayer(editor, node)
    return layer?.inputChannels === channels && node.inputs.lastIndexOf(value) === 0 ? [layer] : []
  })
  if (layers.length === 0 || layers.length < readers.length || editor.isGraphOutput(value)) {
    return 'others than products with constant weights read it'
  }
  return { value, channels, norm, affine: known.filter((tensor) => tensor !== undefined), layers }
}

function smooth(
  editor: GraphEditor,
  { norm, affine, channels, layers }: Joint,
  maxima: Float64Array,
  alpha: number,
): void {
  const weightMaxima = new Float64Array(channels)
  for (const { weights, ...layer } of layers) {
    refuseNotFinite(weights)
    const values = asFloat32(weights)
    forEachWeight({ ...layer, weights }, (index, input) => {
      weightMaxima[input] = Math.max(weightMaxima[input] ?? 0, Math.abs(values[index] ?? 0))
    })
  }
  const factors = weightMaxima.map((weight, channel) => {
    const factor = (maxima[channel] ?? 0) ** alpha / weight ** (1 - alpha)
    // A channel of zeros on one side has nothing to share.
    return factor > 0 && factor < Number.POSITIVE_INFINITY ? factor : 1
  })
  for (const layer of layers) scaleLayer(editor, layer, { inputs: factors })
  for (const tensor of affine) {
    const scaled = asFloat32(tensor).map((value, channel) => value / (factors[channel] ?? 1))
    setOperand(editor, norm, floatTensor(tensor.name, tensor.dims, scaled))
  }
}
