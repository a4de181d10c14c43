import { type Dim, intAttribute, intsAttribute, type Shape } from '@edgefit/shared/onnx'
import type { Labels } from '../channel-labels.ts'
import { type Axis, type Flow, frontAxis, type NodeView, type Rules, sameDim, UNKNOWN_SHAPE } from '../rule.ts'

export const layoutRules: Rules = {
  Flatten: flatten,
  Reshape: reshape,
  Squeeze: (view) => rearranged(view),
  Unsqueeze: (view) => rearranged(view),
  Transpose: transpose,
}

function transpose(view: NodeView): Flow | string {
  const rank = view.shape(0)?.length
  if (rank === undefined) return UNKNOWN_SHAPE
  const axes = view.axes(0)
  const perm = intsAttribute(view.node, 'perm', undefined) ?? axes.map((_, axis) => rank - 1 - axis)
  return { outputs: [perm.map((axis) => axes[axis] ?? null)] }
}

function flatten(view: NodeView): Flow | string {
  const shape = view.shape(0)
  if (shape === undefined) return UNKNOWN_SHAPE
  const axis = frontAxis(intAttribute(view.node, 'axis', 1), shape.length)
  return {
    outputs: [
      [shape.slice(0, axis), shape.slice(axis)].map((dims, side) =>
        merged(
          view,
          dims,
          dims.map((_, at) => view.axis(0, side === 0 ? at : axis + at)),
        ),
      ),
    ],
  }
}

/** Lengths in the target are written anew; 0 and -1 say the same as before. */
function reshape(view: NodeView): Flow | string {
  const target = view.ints(1)
  if (target === undefined) return 'its target shape is not constant'
  const flow = rearranged(view)
  if (typeof flow === 'string') return flow
  const [axes = []] = flow.outputs
  const { node } = view
  return {
    ...flow,
    repair: (survivors, constant) => {
      const dims = target.map((dim, at) => {
        const axis = axes[at] ?? null
        return dim > 0 && axis !== null ? survivors(axis) : dim
      })
      return dims.every((dim, at) => dim === target[at])
        ? node
        : { ...node, inputs: [node.inputs[0] ?? '', constant(dims)] }
    },
  }
}

/** Axes of a value whose elements keep their order while axes are merged, split, added and removed. */
function rearranged(view: NodeView): Flow | string {
  const before = view.shape(0)
  const after = view.outputShape(0)
  if (before === undefined || after === undefined) return UNKNOWN_SHAPE
  const runs = matchingRuns(before, after)
  if (runs === undefined) return 'how its axes become others is not known'
  const axes: Axis[] = after.map(() => null)
  for (const { from, to } of runs) {
    const [target = 0] = to
    const labelled = from.map((axis) => view.axis(0, axis))
    if (to.length === 1)
      axes[target] = merged(
        view,
        from.map((axis) => before[axis]),
        labelled,
      )
    else if (from.length === 1) spread(view, labelled[0] ?? null, to, after, axes)
    else for (const axis of labelled) view.freeze(axis, `${view.node.opType}: several axes become several others`)
  }
  return { outputs: [axes] }
}

interface Run {
  readonly from: readonly number[]
  readonly to: readonly number[]
}

/** The shortest runs of axes with as many elements on both sides. Axes of length 1 without a counterpart are in none. */
function matchingRuns(before: Shape, after: Shape): readonly Run[] | undefined {
  const runs: Run[] = []
  let left = 0
  let right = 0
  const restFits = (): boolean => {
    const rest = productOf(before.slice(left + 1))
    return rest !== undefined && rest === productOf(after.slice(right + 1))
  }
  while (left < before.length && right < after.length) {
    const one = before[left]
    const other = after[right]
    if (sameDim(one, other) || ((typeof one !== 'number' || typeof other !== 'number') && restFits())) {
      runs.push({ from: [left++], to: [right++] })
      continue
    }
    if (one === 1) left++
    else if (other === 1) right++
    else {
      const run = unequalRun(before, after, left, right)
      if (run === undefined) return undefined
      runs.push(run)
      left += run.from.length
      right += run.to.length
    }
  }
  const rest = [...before.slice(left), ...after.slice(right)]
  return rest.every((dim) => dim === 1) ? runs : undefined
}

function unequalRun(before: Shape, after: Shape, left: number, right: number): Run | undefined {
  const from = [left]
  const to = [right]
  for (;;) {
    const one = productOf(from.map((axis) => before[axis]))
    const other = productOf(to.map((axis) => after[axis]))
    if (one === undefined || other === undefined) return undefined
    if (one === other) return { from, to }
    const [side, limit] = one < other ? [from, before.length] : [to, after.length]
    const next = (side.at(-1) ?? 0) + 1
    if (next >= limit) return undefined
    side.push(next)
  }
}

function productOf(dims: readonly Dim[]): number | undefined {
  let product = 1
  for (const dim of dims) {
    if (typeof dim !== 'number') return undefined
    product *= dim
  }
  return product
}

/** Several axes in one: a channel lies at every position that its axis has among the others. */
function merged(view: NodeView, dims: Shape, axes: readonly Axis[]): Axis {
  const labelled = axes.filter((axis) => axis !== null)
  const [labels] = labelled
  if (labels === undefined) return null
  if (dims.length === 1) return labels
  const at = axes.indexOf(labels)
  const inner = productOf(dims.slice(at + 1))
  const outer = productOf(dims.slice(0, at))
  if (labelled.length > 1 || inner === undefined || outer === undefined) {
    for (const axis of labelled) view.freeze(axis, `${view.node.opType}: it merges axes that both hold channels`)
    return null
  }
  const { length } = labels
  return Int32Array.from(
    { length: outer * length * inner },
    (_, index) => labels[Math.floor(index / inner) % length] ?? 0,
  )
}

/** One axis becomes several: the one that leaves the most freedom holds channels, and the others repeat them. */
function spread(view: NodeView, axis: Axis, to: readonly number[], after: Shape, axes: Axis[]): void {
  if (axis === null) return
  const choices = to.map((target) => {
    const length = Number(after[target])
    const inner = productOf(to.filter((other) => other > target).map((other) => after[other])) ?? 1
    const along = (index: number): number => Math.floor(index / inner) % length
    return { target, along, length, freedom: freedom(view, axis, along) }
  })
  const best = choices.reduce((one, other) => (other.freedom >= one.freedom ? other : one))
  const labels: Labels = new Int32Array(best.length).fill(-1)
  for (const [index, label] of axis.entries()) {
    const at = best.along(index)
    const first = labels[at] ?? -1
    if (first === -1) labels[at] = label
    else view.labels.join(first, label)
  }
  axes[best.target] = labels
}

/** Classes that would be left if all positions with one coordinate went together. */
function freedom(view: NodeView, axis: Labels, along: (index: number) => number): number {
  const byCoordinate = new Map<number, number>()
  const byClass = new Map<number, number>()
  const parents = new Map<number, number>()
  const rootOf = (coordinate: number): number => {
    let root = coordinate
    for (let parent = parents.get(root); parent !== undefined; parent = parents.get(root)) root = parent
    return root
  }
  for (const [index, label] of axis.entries()) {
    const coordinate = along(index)
    byCoordinate.set(coordinate, coordinate)
    const own = view.labels.classOf(label)
    const met = byClass.get(own)
    if (met === undefined) byClass.set(own, coordinate)
    else if (rootOf(met) !== rootOf(coordinate)) parents.set(rootOf(coordinate), rootOf(met))
  }
  return byCoordinate.size - parents.size
}
