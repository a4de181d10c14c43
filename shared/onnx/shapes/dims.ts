import type { Dim, Shape } from '../graph.ts'

/** `axis` counted from the front; `undefined` when it is outside the rank. */
export function frontAxis(axis: number, rank: number): number | undefined {
  const front = axis < 0 ? axis + rank : axis
  return front >= 0 && front < rank ? front : undefined
}

/** All axes counted from the front; `undefined` when one is outside the rank. */
export function frontAxes(axes: readonly number[], rank: number): ReadonlySet<number> | undefined {
  const front = axes.map((axis) => frontAxis(axis, rank))
  return front.every((axis) => axis !== undefined) ? new Set(front) : undefined
}

/** No operator takes more; a damaged file may ask for billions. */
const MAX_RANK = 64

/** A shape of which only the rank is known; `undefined` when even that is not, or is absurd. */
export function ofRank(rank: Dim): Shape | undefined {
  return typeof rank === 'number' && rank <= MAX_RANK ? new Array<Dim>(rank).fill(undefined) : undefined
}

/** Numpy's multidirectional broadcasting, as the ONNX operators use it. */
export function broadcast(shapes: readonly (Shape | undefined)[]): Shape | undefined {
  if (!shapes.every((shape) => shape !== undefined)) return undefined
  const rank = Math.max(0, ...shapes.map((shape) => shape.length))
  return Array.from({ length: rank }, (_, axis) =>
    shapes.map((shape) => (axis < rank - shape.length ? 1 : shape[axis - rank + shape.length])).reduce(broadcastDim),
  )
}

function broadcastDim(left: Dim, right: Dim): Dim {
  if (left === 1) return right
  if (right === 1 || left === right) return left
  // Whatever the other is, it must be 1 or this number.
  if (typeof left === 'number') return typeof right === 'number' ? undefined : left
  return typeof right === 'number' ? right : undefined
}

/** Length product; a lone symbol times 1 stays itself. */
export function product(dims: Shape): Dim {
  return quotient(dims, [])
}

/** `of / by` in elements, where symbols cancel; `undefined` when what is left is not a number or a lone symbol. */
export function quotient(of: Shape, by: Shape): Dim {
  if (of.includes(undefined) || by.includes(undefined)) return undefined
  const symbols = of.filter((dim) => typeof dim === 'string')
  for (const dim of by) {
    if (typeof dim !== 'string') continue
    const position = symbols.indexOf(dim)
    if (position < 0) return undefined
    symbols.splice(position, 1)
  }
  const ratio = numberProduct(of) / numberProduct(by)
  if (!Number.isInteger(ratio)) return undefined
  if (symbols.length === 0) return ratio
  return symbols.length === 1 && ratio === 1 ? symbols[0] : undefined
}

/** Applies `combine` when both are numbers. */
export function combineDims(left: Dim, right: Dim, combine: (left: number, right: number) => number): Dim {
  if (typeof left !== 'number' || typeof right !== 'number') return undefined
  const result = combine(left, right)
  return Number.isSafeInteger(result) ? result : undefined
}

/** What is true of a value that has one of two shapes. */
export function commonShape(left: Shape | undefined, right: Shape | undefined): Shape | undefined {
  if (left === undefined || right === undefined || left.length !== right.length) return undefined
  return left.map((dim, axis) => (dim === right[axis] ? dim : undefined))
}

export function asNumbers(dims: readonly Dim[] | undefined): readonly number[] | undefined {
  return dims?.every((dim) => typeof dim === 'number') === true ? dims : undefined
}

function numberProduct(dims: Shape): number {
  return dims.reduce<number>((total, dim) => (typeof dim === 'number' ? total * dim : total), 1)
}
