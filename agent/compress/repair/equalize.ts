import { asFloat32, editGraph, type GraphEditor, type Model, type Node } from '@edgefit/shared/onnx'
import { notesByReason, type PassResult } from '../pass-report.ts'
import { refuseNotFinite } from '../quantize-weights.ts'
import { simplify } from '../simplify.ts'
import { findLayerPairs, type LayerPair } from './layer-pairs.ts'
import { forEachWeight, type LinearLayer, scaleLayer } from './linear-layer.ts'

export interface EqualizeOptions {
  /**
   * A Clip from 0 up, as a Relu6, is not equivariant: a channel scaled down would be cut off late. `keep` leaves it and
   * the layers around it alone; `replace` makes it a Relu first, which changes what lies above its bound.
   */
  readonly clips: 'keep' | 'replace'
}

/**
 * Cross-layer equalization: scales the channels between two layers, the first one's outputs by 1/s and the second one's
 * inputs by s, so that both have the same range of weights in every channel, `s = √(r₁/r₂)`. One scale for a whole tensor,
 * of weights or of activations, then suits all of its channels.
 *
 * Between the layers (Conv of any grouping, Gemm, MatMul) there may be Relu, LeakyRelu, PRelu, pooling and Flatten, and
 * nobody else may read what lies between. Repeated over all pairs until next to nothing moves, which for a depthwise convolution
 * between two others gives all three the same ranges.
 *
 * Requires float32 layers with constant weights and BatchNormalization folded; ensures the outputs of before but for
 * rounding, where no Clip was replaced.
 *
 * Formulas: Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction (arXiv 1906.04721).
 *
 * @throws EdgefitError MODEL_INVALID for weights that are not finite.
 */
export function equalize(model: Model, { clips: rule }: EqualizeOptions): PassResult {
  const prepared = simplify(model)
  const editor = editGraph(prepared.graph)
  const { pairs, clips } = findLayerPairs(editor, rule === 'replace')
  const notes = clipNotes(clips, rule)
  if (pairs.length === 0) return { model, notes: ['no two layers to equalize', ...notes] }
  const scales = equalizingScales(pairs)
  for (const [layer, { inputs, outputs }] of scales) scaleLayer(editor, layer, { inputs, outputs })
  if (rule === 'replace') for (const clip of clips) replaceByRelu(editor, clip)
  editor.prune()
  const summary = `${pairs.length} pairs of layers equalized`
  return { model: { ...prepared, graph: editor.build() }, notes: [summary, ...notes] }
}

function clipNotes(clips: readonly Node[], rule: EqualizeOptions['clips']): readonly string[] {
  const reason =
    rule === 'keep'
      ? 'not equalized across, its bound holds for all channels alike'
      : 'replaced by Relu to equalize across'
  return notesByReason(clips.map((node) => ({ node, reason })))
}

function replaceByRelu(editor: GraphEditor, clip: Node): void {
  const attributes = new Map([...clip.attributes].filter(([name]) => name !== 'min' && name !== 'max'))
  editor.replace(clip, { ...clip, opType: 'Relu', inputs: clip.inputs.slice(0, 1), attributes })
}

interface Scales {
  readonly inputs: Float64Array
  readonly outputs: Float64Array
}

/** Of the largest scale's logarithm: a thousandth is no news to 8 bits. */
const SETTLED = 1e-3
/** Chains of many layers settle slowly, and the last sweeps change next to nothing. */
const MAX_SWEEPS = 50

function equalizingScales(pairs: readonly LayerPair[]): ReadonlyMap<LinearLayer, Scales> {
  const layers = new Set(pairs.flatMap(({ first, second }) => [first, second]))
  const states = new Map([...layers].map((layer) => [layer, stateOf(layer)]))
  const state = (layer: LinearLayer): LayerState => {
    const found = states.get(layer)
    if (found === undefined) throw new RangeError(`layer "${layer.node.name}" is in no pair`)
    return found
  }
  for (let sweep = 0, moved = Number.POSITIVE_INFINITY; moved > SETTLED && sweep < MAX_SWEEPS; sweep++) {
    moved = 0
    for (const { first, second, spread } of pairs) {
      const before = state(first)
      const after = state(second)
      const own = ranges(before, 'outputs', 1)
      const others = ranges(after, 'inputs', spread)
      for (const [channel, r1] of own.entries()) {
        const scale = Math.sqrt(r1 / (others[channel] ?? 0))
        // A channel without weights on one side has nothing to equalize.
        if (!(scale > 0 && scale < Number.POSITIVE_INFINITY)) continue
        moved = Math.max(moved, Math.abs(Math.log(scale)))
        before.outputs[channel] = (before.outputs[channel] ?? 1) / scale
        for (let at = channel * spread; at < (channel + 1) * spread; at++)
          after.inputs[at] = (after.inputs[at] ?? 1) * scale
      }
    }
  }
  return states
}

interface LayerState extends Scales {
  readonly layer: LinearLayer
  /** Largest magnitude of each kernel, outer × inner. */
  readonly magnitudes: Float64Array
}

function stateOf(layer: LinearLayer): LayerState {
  refuseNotFinite(layer.weights)
  const weights = asFloat32(layer.weights)
  const magnitudes = new Float64Array(layer.outer * layer.inner)
  forEachWeight(layer, (index) => {
    const at = Math.floor(index / layer.kernel)
    magnitudes[at] = Math.max(magnitudes[at] ?? 0, Math.abs(weights[index] ?? 0))
  })
  return {
    layer,
    magnitudes,
    inputs: new Float64Array(layer.inputChannels).fill(1),
    outputs: new Float64Array(layer.outputChannels).fill(1),
  }
}

/** Largest weight of each channel, `spread` neighbours taken together, with the scales found so far. */
function ranges({ layer, magnitudes, inputs, outputs }: LayerState, side: keyof Scales, spread: number): Float64Array {
  const found = new Float64Array((side === 'inputs' ? layer.inputChannels : layer.outputChannels) / spread)
  forEachWeight({ ...layer, kernel: 1 }, (index, input, output) => {
    const channel = Math.floor((side === 'inputs' ? input : output) / spread)
    const magnitude = (magnitudes[index] ?? 0) * (inputs[input] ?? 1) * (outputs[output] ?? 1)
    if (magnitude > (found[channel] ?? 0)) found[channel] = magnitude
  })
  return found
}
