import { intAttribute, intsAttribute, type Node, stringAttribute } from '@edgefit/shared/onnx'
import { type WindowGeometry, windowGeometry } from './window-geometry.ts'

/**
 * A convolution from a `large` tensor [batch, channels, ...] to a `small` one [batch, filters, ...] by weights
 * [filters, channels / group, ...kernel]. A transposed convolution goes from small to large with weights of the same
 * shape, so that each of its gradients is one that a convolution has, too.
 */
export interface Correlation extends WindowGeometry {
  readonly batch: number
  readonly group: number
  readonly channels: number
  readonly filters: number
}

/** @param node a Conv or a ConvTranspose */
export function correlationOf(node: Node, shapeOf: (value: string) => readonly number[]): Correlation {
  const [x = '', w = ''] = node.inputs
  const [y = ''] = node.outputs
  const transposed = node.opType === 'ConvTranspose'
  const [large, small] = transposed ? [shapeOf(y), shapeOf(x)] : [shapeOf(x), shapeOf(y)]
  const geometry = windowGeometry(
    transposed ? withPlacedWindow(node) : node,
    { large: large.slice(2), small: small.slice(2), kernel: shapeOf(w).slice(2) },
    transposed ? intsAttribute(node, 'output_padding', []) : [],
  )
  return {
    ...geometry,
    batch: large[0] ?? 1,
    group: intAttribute(node, 'group', 1),
    channels: large[1] ?? 1,
    filters: small[1] ?? 1,
  }
}

/** Where `output_shape` is given, the runtime places the window as for SAME_LOWER unless it is told SAME_UPPER. */
function withPlacedWindow(node: Node): Node {
  if (!node.attributes.has('output_shape') || stringAttribute(node, 'auto_pad', 'NOTSET') === 'SAME_UPPER') return node
  return { ...node, attributes: new Map([...node.attributes, ['auto_pad', { kind: 'STRING', value: 'SAME_LOWER' }]]) }
}
