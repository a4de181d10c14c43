import { intAttribute, intsAttribute, intsValue } from '@edgefit/shared/onnx'
import type { Labels } from '../channel-labels.ts'
import { type Axis, type Flow, frontAxis, type NodeView, type Repair, type Rules, UNKNOWN_SHAPE } from '../rule.ts'

export const joiningRules: Rules = { Concat: concat, Split: split, Gather: gather, Slice: slice }

function concat(view: NodeView): Flow | string {
  const shapes = view.node.inputs.map((_, position) => view.shape(position))
  const [first] = shapes
  if (first === undefined || shapes.includes(undefined)) return UNKNOWN_SHAPE
  const axis = frontAxis(intAttribute(view.node, 'axis', 1), first.length)
  const axes = first.map((_, at): Axis => {
    const parts = shapes.map((__, position) => view.axis(position, at))
    if (at === axis)
      return joined(
        view,
        parts,
        shapes.map((shape) => shape?.[at]),
      )
    const labelled = parts.find((part) => part !== null) ?? null
    for (const part of parts) view.tie(labelled, part)
    return labelled
  })
  return { outputs: [axes] }
}

/** The labels one after the other; channels of a part that is fixed stay. */
function joined(view: NodeView, parts: readonly Axis[], lengths: readonly unknown[]): Axis {
  if (parts.every((part) => part === null)) return null
  const labels: number[] = []
  for (const [position, part] of parts.entries()) {
    const length = lengths[position]
    if (part !== null) labels.push(...part)
    else if (typeof length === 'number') {
      const fixed = view.labels.fresh(length)
      view.freeze(fixed, `Concat: ${view.node.inputs[position]} cannot lose channels`)
      labels.push(...fixed)
    } else {
      for (const other of parts) view.freeze(other, `Concat: ${UNKNOWN_SHAPE}`)
      return null
    }
  }
  return Int32Array.from(labels)
}

function split(view: NodeView): Flow | string {
  const shape = view.shape(0)
  if (shape === undefined) return UNKNOWN_SHAPE
  const axis = frontAxis(intAttribute(view.node, 'axis', 0), shape.length)
  const axes = view.axes(0)
  const labels = axes[axis] ?? null
  if (labels === null) return { outputs: view.node.outputs.map(() => axes) }
  const sizes = view.node.outputs.map((_, position) => view.outputShape(position)?.[axis])
  let start = 0
  const parts: Labels[] = []
  for (const size of sizes) {
    if (typeof size !== 'number') return UNKNOWN_SHAPE
    parts.push(labels.subarray(start, start + size))
    start += size
  }
  if (start !== labels.length) return UNKNOWN_SHAPE
  return {
    outputs: parts.map((part) => axes.map((own, at) => (at === axis ? part : own))),
    repair: splitRepair(view, parts),
  }
}

/** Sizes are written out, since equal parts need not stay equal: an attribute before opset 13, then an input. */
function splitRepair({ node, opset }: NodeView, parts: readonly Labels[]): Repair {
  return (survivors, constant) => {
    const sizes = parts.map(survivors)
    const attributes = new Map(node.attributes)
    attributes.delete('num_outputs')
    if (opset < 13) return { ...node, attributes: attributes.set('split', intsValue(sizes)) }
    return { ...node, attributes, inputs: [node.inputs[0] ?? '', constant(sizes)] }
  }
}

/** Along the axis it picks from, positions are numbers in other tensors: that one stays. */
function gather(view: NodeView): Flow | string {
  const shape = view.shape(0)
  const indices = view.shape(1)
  if (shape === undefined || indices === undefined) return UNKNOWN_SHAPE
  const axis = frontAxis(intAttribute(view.node, 'axis', 0), shape.length)
  for (const at of shape.keys()) if (at !== axis) view.setRole(0, at, 'filter')
  const axes = view.axes(0)
  view.freeze(axes[axis] ?? null, 'Gather: it picks channels by number')
  return { outputs: [[...axes.slice(0, axis), ...indices.map(() => null), ...axes.slice(axis + 1)]] }
}

/** A run of channels is followed, with its bounds written anew; every second one and the like is not. */
function slice(view: NodeView): Flow | string {
  const shape = view.shape(0)
  const starts = intsAttribute(view.node, 'starts', undefined) ?? view.ints(1)
  const ends = intsAttribute(view.node, 'ends', undefined) ?? view.ints(2)
  if (shape === undefined || starts === undefined || ends === undefined) return UNKNOWN_SHAPE
  const given = intsAttribute(view.node, 'axes', undefined) ?? (view.has(3) ? view.ints(3) : [...starts.keys()])
  const steps = view.has(4) ? view.ints(4) : starts.map(() => 1)
  if (given === undefined || steps === undefined) return 'its axes or steps are not constant'
  const axes = [...view.axes(0)]
  const cuts = new Map<number, { readonly before: Labels; readonly part: Labels }>()
  for (const [at, rawAxis] of given.entries()) {
    const axis = frontAxis(rawAxis, shape.length)
    const labels = axes[axis] ?? null
    if (labels === null) continue
    const from = clamped(starts[at] ?? 0, labels.length)
    const part = labels.subarray(from, Math.max(from, clamped(ends[at] ?? 0, labels.length)))
    if (steps[at] === 1 && part.length > 0) {
      axes[axis] = part
      cuts.set(at, { before: labels.subarray(0, from), part })
    } else {
      view.freeze(labels, 'Slice: it picks channels one by one')
      axes[axis] = null
    }
  }
  if (cuts.size === 0) return { outputs: [axes] }
  const { node } = view
  return {
    outputs: [axes],
    repair: (survivors, constant) => {
      const first = starts.map((start, at) => survivorsOr(cuts.get(at)?.before, start))
      const last = ends.map((end, at) => (first[at] ?? 0) + survivorsOr(cuts.get(at)?.part, end - (first[at] ?? 0)))
      if (node.attributes.has('starts')) {
        const attributes = new Map(node.attributes).set('starts', intsValue(first)).set('ends', intsValue(last))
        return { ...node, attributes }
      }
      const [data = '', , , ...rest] = node.inputs
      return { ...node, inputs: [data, constant(first), constant(last), ...rest] }

      function survivorsOr(labels: Labels | undefined, otherwise: number): number {
        return labels === undefined ? otherwise : survivors(labels)
      }
    },
  }
}

/** A bound of Slice: negative ones count from the end, those beyond stop at it. */
function clamped(bound: number, length: number): number {
  return Math.min(length, Math.max(0, frontAxis(bound, length)))
}
