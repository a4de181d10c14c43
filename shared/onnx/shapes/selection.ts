import { intAttribute, intsAttribute } from '../attributes.ts'
import type { Dim, Shape } from '../graph.ts'
import { asNumbers, combineDims, frontAxis, ofRank } from './dims.ts'
import { type Pick, pick } from './pick.ts'
import { type Known, type KnownInts, known, MAX_INTS, type Rule, type RuleInput, type Rules } from './rule.ts'

export const selectionRules: Rules = {
  Concat: (input) => [known(input.dataType(0), concatenated(input), concatenatedInts(input))],
  Gather: (input) => [known(input.dataType(0), gathered(input), gatheredInts(input))],
  GatherElements: (input) => [known(input.dataType(0), input.shape(1))],
  GatherND: (input) => [known(input.dataType(0), gatheredByIndex(input))],
  OneHot: (input) => [known(input.dataType(2), oneHot(input))],
  Pad: (input) => [known(input.dataType(0), padded(input))],
  Slice: (input) => [known(input.dataType(0), sliced(input), slicedInts(input))],
  Split: split(),
}

function concatenated(input: RuleInput): Shape | undefined {
  const shapes = Array.from({ length: input.inputCount }, (_, position) => input.shape(position))
  const first = shapes.find((shape) => shape !== undefined)
  const axis = first && frontAxis(intAttribute(input.node, 'axis', 1), first.length)
  if (first === undefined || axis === undefined) return undefined
  return first.map((_, position) => {
    const dims = shapes.map((shape) => shape?.[position])
    if (position !== axis) return dims.find((dim) => typeof dim === 'number') ?? dims.find((dim) => dim !== undefined)
    return dims.length === 1 ? dims[0] : dims.reduce((left, right) => combineDims(left, right, (a, b) => a + b))
  })
}

function concatenatedInts(input: RuleInput): KnownInts | undefined {
  const parts = Array.from({ length: input.inputCount }, (_, position) => input.ints(position))
  if (!parts.every((part) => part?.dims.length === 1)) return undefined
  const values = parts.flatMap((part) => part?.values ?? [])
  return values.length > MAX_INTS ? undefined : { dims: [values.length], values }
}

function gathered(input: RuleInput): Shape | undefined {
  const data = input.shape(0)
  const indices = input.shape(1)
  if (data === undefined || indices === undefined) return undefined
  const axis = frontAxis(intAttribute(input.node, 'axis', 0), data.length)
  return axis === undefined ? undefined : [...data.slice(0, axis), ...indices, ...data.slice(axis + 1)]
}

function gatheredInts(input: RuleInput): KnownInts | undefined {
  const data = input.ints(0)
  const indices = input.ints(1)
  if (data === undefined || indices === undefined || data.dims.length !== 1) return undefined
  const values = indices.values.map((index) => (typeof index === 'number' ? data.values.at(index) : undefined))
  return { dims: indices.dims, values }
}

function gatheredByIndex(input: RuleInput): Shape | undefined {
  const data = input.shape(0)
  const indices = input.shape(1)
  const depth = indices?.at(-1)
  if (data === undefined || indices === undefined || typeof depth !== 'number') return undefined
  return [...indices.slice(0, -1), ...data.slice(intAttribute(input.node, 'batch_dims', 0) + depth)]
}

function oneHot(input: RuleInput): Shape | undefined {
  const indices = input.shape(0)
  if (indices === undefined) return undefined
  const axis = frontAxis(intAttribute(input.node, 'axis', -1), indices.length + 1)
  return axis === undefined ? undefined : indices.toSpliced(axis, 0, input.ints(1)?.values[0])
}

function padded(input: RuleInput): Shape | undefined {
  const shape = input.shape(0)
  if (shape === undefined) return undefined
  const pads = input.opset >= 11 ? asNumbers(input.ints(1)?.values) : intsAttribute(input.node, 'pads', undefined)
  const chosen = input.hasInput(3) ? asNumbers(input.ints(3)?.values) : shape.map((_, axis) => axis)
  if (pads === undefined || chosen === undefined) return ofRank(shape.length)
  const axes = chosen.map((axis) => frontAxis(axis, shape.length))
  return shape.map((dim, axis) => {
    const position = axes.indexOf(axis)
    if (position < 0) return dim
    const total = (pads[position] ?? 0) + (pads[position + axes.length] ?? 0)
    return total === 0 ? dim : combineDims(dim, total, (left, right) => left + right)
  })
}

/** Bounds of one sliced axis; a Dim that is not a number is not known. */
interface Bounds {
  readonly start: Dim
  readonly end: Dim
  readonly step: Dim
}

/** Bounds by axis; `undefined` when the axes themselves are unknown. */
function sliceBounds(input: RuleInput, rank: number): ReadonlyMap<number, Bounds> | undefined {
  const { node } = input
  const byInput = input.opset >= 10
  const count = byInput
    ? (input.ints(1)?.values.length ?? input.shape(1)?.[0])
    : intsAttribute(node, 'starts', []).length
  if (typeof count !== 'number') return undefined
  const starts = byInput ? input.ints(1)?.values : intsAttribute(node, 'starts', [])
  const ends = byInput ? input.ints(2)?.values : intsAttribute(node, 'ends', [])
  const given = byInput ? asNumbers(input.ints(3)?.values) : intsAttribute(node, 'axes', undefined)
  if (given === undefined && input.hasInput(3)) return undefined
  const steps = input.hasInput(4) ? input.ints(4)?.values : new Array<Dim>(count).fill(1)
  const bounds = new Map<number, Bounds>()
  for (const [position, value] of (given ?? Array.from({ length: count }, (_, axis) => axis)).entries()) {
    const axis = frontAxis(value, rank)
    if (axis === undefined) return undefined
    bounds.set(axis, { start: starts?.[position], end: ends?.[position], step: steps?.[position] })
  }
  return bounds
}

function sliced(input: RuleInput): Shape | undefined {
  const shape = input.shape(0)
  if (shape === undefined) return undefined
  const bounds = sliceBounds(input, shape.length)
  if (bounds === undefined) return ofRank(shape.length)
  return shape.map((dim, axis) => {
    const bound = bounds.get(axis)
    return bound === undefined ? dim : slicedDim(dim, bound)
  })
}

/** No real axis is that long: exporters write INT32_MAX or INT64_MAX for "to the end". */
const TO_THE_END = 2 ** 31 - 1

function slicedDim(dim: Dim, bounds: Bounds): Dim {
  if (bounds.start === 0 && bounds.step === 1 && typeof bounds.end === 'number' && bounds.end >= TO_THE_END) return dim
  const range = typeof dim === 'number' ? sliceRange(dim, bounds) : undefined
  return range && rangeCount(range)
}

/** Numpy's clamping of negative and too large bounds. */
function sliceRange(length: number, { start, end, step }: Bounds): Range | undefined {
  if (typeof start !== 'number' || typeof end !== 'number' || typeof step !== 'number' || step === 0) return undefined
  if (length === 0) return { start: 0, end: 0, step }
  const [low, high] = step > 0 ? [0, length] : [-1, length - 1]
  const clamp = (bound: number): number => Math.min(Math.max(bound < 0 ? bound + length : bound, low), high)
  return { start: Math.max(clamp(start), 0), end: clamp(end), step }
}

function slicedInts(input: RuleInput): KnownInts | undefined {
  const ints = input.ints(0)
  const bounds = ints && sliceBounds(input, ints.dims.length)
  if (ints === undefined || bounds === undefined) return undefined
  const picks: Pick[] = []
  for (const [axis, length] of ints.dims.entries()) {
    const bound = bounds.get(axis) ?? { start: 0, end: length, step: 1 }
    const range = sliceRange(length, bound)
    if (range === undefined) return undefined
    picks.push({ axis, at: positions(range) })
  }
  return pick(ints, picks)
}

interface Range {
  readonly start: number
  readonly end: number
  readonly step: number
}

function rangeCount({ start, end, step }: Range): number {
  return Math.max(0, Math.ceil((end - start) / step))
}

function positions(range: Range): readonly number[] {
  return Array.from({ length: rangeCount(range) }, (_, position) => range.start + position * range.step)
}

function split(): Rule {
  return (input): readonly Known[] => {
    const shape = input.shape(0)
    const count = input.node.outputs.length
    const dataType = input.dataType(0)
    const axis = shape && frontAxis(intAttribute(input.node, 'axis', 0), shape.length)
    if (shape === undefined || axis === undefined) return new Array<Known>(count).fill(known(dataType, undefined))
    const sizes = splitSizes(input, shape[axis], count)
    return Array.from({ length: count }, (_, position) => known(dataType, shape.with(axis, sizes?.[position])))
  }
}

function splitSizes(input: RuleInput, dim: Dim, count: number): readonly Dim[] | undefined {
  if (input.hasInput(1)) return input.ints(1)?.values
  const given = intsAttribute(input.node, 'split', undefined)
  if (given !== undefined || typeof dim !== 'number') return given
  // Equal parts; where they do not come out even, the last is the shorter one.
  const part = Math.ceil(dim / count)
  return Array.from({ length: count }, (_, position) => Math.max(0, Math.min(part, dim - part * position)))
}
