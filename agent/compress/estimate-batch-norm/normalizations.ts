import { asFloat32, editGraph, intAttribute, type Model, type Node, subgraphs } from '@edgefit/shared/onnx'

/** A BatchNormalization of the main graph whose statistics can be others. */
export interface Normalization {
  readonly node: Node
  readonly input: string
  /** Names it in recipes. */
  readonly output: string
  readonly channels: number
  /** Statistics that the model has, per channel. */
  readonly mean: Float32Array
  readonly variance: Float32Array
  /** How many others lie before it, one behind another: those of one depth do not change each other's input. */
  readonly depth: number
}

export interface Normalizations {
  readonly found: readonly Normalization[]
  /** Those that stay as they are, and why. */
  readonly left: readonly { readonly node: Node; readonly reason: string }[]
}

export function findNormalizations({ graph }: Model): Normalizations {
  const editor = editGraph(graph)
  const depths = new Map<string, number>()
  let deepest = 0
  const found: Normalization[] = []
  const left: { node: Node; reason: string }[] = []
  for (const node of graph.nodes) {
    const [input = ''] = node.inputs
    // What a branch reads from outside is not among its inputs.
    const before =
      subgraphs(node).length > 0 ? deepest : Math.max(0, ...node.inputs.map((name) => depths.get(name) ?? 0))
    const normalizes = node.opType === 'BatchNormalization' && node.domain === ''
    const depth = before + (normalizes ? 1 : 0)
    deepest = Math.max(deepest, depth)
    for (const output of node.outputs) depths.set(output, depth)
    if (!normalizes) continue
    const [output = '', ...others] = node.outputs
    const parameters = node.inputs.slice(1).map((name) => editor.constant(name))
    const [, , mean, variance] = parameters
    if (intAttribute(node, 'training_mode', 0) !== 0 || others.some((name) => name !== '')) {
      left.push({ node, reason: 'it is in training mode' })
    } else if (!mean || !variance || parameters.some((tensor) => tensor?.dataType !== 'FLOAT')) {
      left.push({ node, reason: 'its parameters are not float32 constants' })
    } else {
      const [channels = 0] = mean.dims
      found.push({ node, input, output, channels, mean: asFloat32(mean), variance: asFloat32(variance), depth: before })
    }
  }
  return { found, left }
}
