import { asFloat32, floatAttribute, type GraphEditor, intAttribute, type Node } from '@edgefit/shared/onnx'
import { type LinearLayer, linearLayer } from './linear-layer.ts'

/** Two layers with nothing between them that would notice a channel scaled by a positive factor. */
export interface LayerPair {
  readonly first: LinearLayer
  readonly second: LinearLayer
  /** Input channels of `second` that each output channel of `first` spreads over: more than one after a Flatten. */
  readonly spread: number
}

export interface PairSearch {
  readonly pairs: readonly LayerPair[]
  /** Clips from 0 up that lie between two layers and, unlike a Relu, do notice. */
  readonly clips: readonly Node[]
}

/** All pairs of the graph, in its order. `acrossClips`: as if the Clips were Relus. */
export function findLayerPairs(editor: GraphEditor, acrossClips: boolean): PairSearch {
  const layers = new Map<Node, LinearLayer>()
  for (const node of editor.nodes()) {
    const layer = linearLayer(editor, node)
    if (layer !== undefined) layers.set(node, layer)
  }
  const pairs: LayerPair[] = []
  const clips: Node[] = []
  for (const first of layers.values()) {
    const path = follow(editor, layers, first)
    if (path === undefined) continue
    clips.push(...path.clips)
    if (path.clips.length === 0 || acrossClips) pairs.push({ first, second: path.second, spread: path.spread })
  }
  return { pairs, clips }
}

interface Path {
  readonly second: LinearLayer
  readonly spread: number
  readonly clips: readonly Node[]
}

function follow(editor: GraphEditor, layers: ReadonlyMap<Node, LinearLayer>, first: LinearLayer): Path | undefined {
  const isConv = first.node.opType === 'Conv'
  const clips: Node[] = []
  let flat = false
  for (let value = first.output; ; ) {
    const [next, ...others] = editor.consumers(value)
    if (next === undefined || others.length > 0 || editor.isGraphOutput(value) || next.inputs[0] !== value)
      return undefined
    const second = layers.get(next)
    if (second !== undefined) {
      // A convolution has its channels second, a product last.
      if (isConv && second.node.opType !== 'Conv' && !flat) return undefined
      if (!isConv && second.node.opType === 'Conv') return undefined
      const spread = second.inputChannels / first.outputChannels
      return (flat ? Number.isInteger(spread) : spread === 1) ? { second, spread, clips } : undefined
    }
    if (next.domain !== '' || next.outputs.length !== 1) return undefined
    if (next.opType === 'Flatten') {
      if (!isConv && first.node.opType !== 'Gemm') return undefined
      if (intAttribute(next, 'axis', 1) !== 1) return undefined
      flat = true
    } else if (next.opType === 'Clip' && clipsFromZero(editor, next)) {
      clips.push(next)
    } else if (!isHomogeneous(editor, next, isConv && !flat)) {
      return undefined
    }
    value = next.outputs[0] ?? ''
  }
}

/** Whether f(s·x) = s·f(x) for every positive s per channel. */
function isHomogeneous(editor: GraphEditor, node: Node, spatial: boolean): boolean {
  switch (node.opType) {
    case 'Relu':
    case 'LeakyRelu':
    case 'Identity':
      return true
    case 'PRelu':
      return editor.constant(node.inputs[1] ?? '') !== undefined
    case 'MaxPool':
    case 'AveragePool':
    case 'GlobalMaxPool':
    case 'GlobalAveragePool':
      return spatial
    default:
      return false
  }
}

function clipsFromZero(editor: GraphEditor, clip: Node): boolean {
  const [, min = '', max = ''] = clip.inputs
  if (min === '') return floatAttribute(clip, 'min', undefined) === 0
  const tensor = editor.constant(min)
  if (max !== '' && editor.constant(max) === undefined) return false
  return tensor?.dataType === 'FLOAT' && asFloat32(tensor)[0] === 0
}
