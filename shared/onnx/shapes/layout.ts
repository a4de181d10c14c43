import { intAttribute, intsAttribute } from '../attributes.ts'
import type { Dim, Shape } from '../graph.ts'
import { asNumbers, broadcast, combineDims, frontAxes, ofRank, product, quotient } from './dims.ts'
import { pick, range } from './pick.ts'
import { type KnownInts, known, type Rule, type RuleInput, type Rules } from './rule.ts'

const likeInput =
  (shapeOf: (input: RuleInput) => Shape | undefined): Rule =>
  (input) => {
    const shape = shapeOf(input)
    return [known(input.dataType(0), shape, sameInts(input.ints(0), shape))]
  }

export const layoutRules: Rules = {
  Reshape: likeInput(reshaped),
  Flatten: likeInput(flattened),
  Squeeze: likeInput(squeezed),
  Unsqueeze: likeInput(unsqueezed),
  Identity: likeInput((input) => input.shape(0)),
  Transpose: (input) => [known(input.dataType(0), transposed(input), transposedInts(input))],
  Expand: (input) => [known(input.dataType(0), expanded(input))],
  Tile: (input) => [known(input.dataType(0), tiled(input))],
  DepthToSpace: (input) => [
    known(
      input.dataType(0),
      blockMoved(input, (block) => block),
    ),
  ],
  SpaceToDepth: (input) => [
    known(
      input.dataType(0),
      blockMoved(input, (block) => 1 / block),
    ),
  ],
}

/** The integers of a value that keeps its elements in their order. */
function sameInts(ints: KnownInts | undefined, shape: Shape | undefined): KnownInts | undefined {
  const dims = asNumbers(shape)
  return ints && dims && { dims, values: ints.values }
}

function reshaped(input: RuleInput): Shape | undefined {
  const data = input.shape(0)
  const target = input.ints(1)?.values
  if (target === undefined) return ofRank(input.shape(1)?.[0])
  const keepZero = intAttribute(input.node, 'allowzero', 0) === 1
  const dims = target.map((dim, axis) => (dim === 0 && !keepZero ? data?.[axis] : dim))
  if (!dims.includes(-1)) return dims
  const rest =
    data &&
    quotient(
      data,
      dims.filter((dim) => dim !== -1),
    )
  return dims.map((dim) => (dim === -1 ? rest : dim))
}

function flattened(input: RuleInput): Shape | undefined {
  const shape = input.shape(0)
  if (shape === undefined) return undefined
  const axis = intAttribute(input.node, 'axis', 1)
  const split = axis < 0 ? axis + shape.length : axis
  return [product(shape.slice(0, split)), product(shape.slice(split))]
}

function axesOf(input: RuleInput): readonly number[] | undefined {
  return input.opset >= 13 ? asNumbers(input.ints(1)?.values) : intsAttribute(input.node, 'axes', undefined)
}

function squeezed(input: RuleInput): Shape | undefined {
  const shape = input.shape(0)
  if (shape === undefined) return undefined
  const given = axesOf(input)
  if (given === undefined) {
    if (input.hasInput(1)) return undefined
    // Every axis of length 1 goes, which only a fully known shape can say.
    return asNumbers(shape)?.filter((dim) => dim !== 1)
  }
  const axes = frontAxes(given, shape.length)
  return axes && shape.filter((_, axis) => !axes.has(axis))
}

function unsqueezed(input: RuleInput): Shape | undefined {
  const shape = input.shape(0)
  const given = axesOf(input)
  if (shape === undefined || given === undefined) return undefined
  const rank = shape.length + given.length
  const axes = frontAxes(given, rank)
  if (axes === undefined) return undefined
  const rest = shape.values()
  return Array.from({ length: rank }, (_, axis) => (axes.has(axis) ? 1 : rest.next().value))
}

function permutation(input: RuleInput, rank: number): readonly number[] {
  return intsAttribute(input.node, 'perm', undefined) ?? Array.from({ length: rank }, (_, axis) => rank - 1 - axis)
}

function transposed(input: RuleInput): Shape | undefined {
  const shape = input.shape(0)
  return shape && permutation(input, shape.length).map((axis) => shape[axis])
}

function transposedInts(input: RuleInput): KnownInts | undefined {
  const ints = input.ints(0)
  return (
    ints &&
    pick(
      ints,
      permutation(input, ints.dims.length).map((axis) => ({ axis, at: range(ints.dims[axis]) })),
    )
  )
}

function expanded(input: RuleInput): Shape | undefined {
  return broadcast([input.shape(0), input.ints(1)?.values ?? ofRank(input.shape(1)?.[0])])
}

function tiled(input: RuleInput): Shape | undefined {
  const repeats = input.ints(1)?.values
  return input.shape(0)?.map((dim, axis): Dim => {
    const repeat = repeats?.[axis]
    return repeat === 1 ? dim : combineDims(dim, repeat, (left, right) => left * right)
  })
}

function blockMoved(input: RuleInput, growth: (block: number) => number): Shape | undefined {
  const shape = input.shape(0)
  const block = intAttribute(input.node, 'blocksize', undefined)
  if (shape?.length !== 4 || block === undefined) return undefined
  const factor = growth(block)
  const scaled = (dim: Dim, by: number): Dim => combineDims(dim, by, (left, right) => Math.round(left * right))
  return [shape[0], scaled(shape[1], 1 / factor ** 2), scaled(shape[2], factor), scaled(shape[3], factor)]
}
