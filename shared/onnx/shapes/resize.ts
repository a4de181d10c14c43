import { intsAttribute, stringAttribute } from '../attributes.ts'
import type { Dim, Shape } from '../graph.ts'
import { frontAxis, ofRank } from './dims.ts'
import { known, type RuleInput, type Rules } from './rule.ts'

export const resizeRules: Rules = {
  Resize: (input) => [known(input.dataType(0), resized(input))],
  Upsample: (input) => [known(input.dataType(0), scaled(input.shape(0), input.floats(1)))],
}

function resized(input: RuleInput): Shape | undefined {
  const shape = input.shape(0)
  if (shape === undefined) return undefined
  if (input.opset < 11) return scaled(shape, input.floats(1))
  const axes = intsAttribute(input.node, 'axes', undefined)?.map((axis) => frontAxis(axis, shape.length))
  if (!input.hasInput(3)) return scaled(shape, spread(input.floats(2), axes, shape.length, 1))
  const sizes = input.ints(3)?.values
  const stretch = stringAttribute(input.node, 'keep_aspect_ratio_policy', 'stretch') === 'stretch'
  if (sizes === undefined || !stretch) return ofRank(shape.length)
  return axes === undefined ? sizes : shape.map((dim, axis) => (axes.includes(axis) ? sizes[axes.indexOf(axis)] : dim))
}

function scaled(shape: Shape | undefined, scales: readonly number[] | undefined): Shape | undefined {
  return shape?.map((dim, axis): Dim => {
    const scale = scales?.[axis]
    if (scale === 1) return dim
    // The runtime multiplies in float32.
    return scale === undefined || typeof dim !== 'number' ? undefined : Math.floor(Math.fround(dim * scale))
  })
}

function spread(
  values: readonly number[] | undefined,
  axes: readonly (number | undefined)[] | undefined,
  rank: number,
  otherwise: number,
): readonly number[] | undefined {
  if (values === undefined || axes === undefined) return values
  return Array.from({ length: rank }, (_, axis) => values[axes.indexOf(axis)] ?? otherwise)
}
