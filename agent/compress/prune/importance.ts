import { asFloat32, elementCount, type Model } from '@edgefit/shared/onnx'
import type { ChannelGroup, GroupMember } from './dependency-groups.ts'

/**
 * How much each channel of a group matters, in the group's order; higher is more. Measures that look at gradients close
 * over what they know. `undefined` where that does not reach the group, whose channels then stay.
 */
export type Importance = (model: Model, group: ChannelGroup) => Float64Array | undefined

/**
 * Measures that need nothing but weights. Scores are divided by their mean over the group, so that layers of different
 * scale compare, except `lamp`, which is made to be compared.
 */
export const IMPORTANCES = {
  /** Sum of absolute weights that make or read the channel. */
  l1: normalized((model, group) => summed(model, group, isWeight, Math.abs)),
  /** Root of the sum of squares of the same. */
  l2: normalized((model, group) => energy(model, group).map(Math.sqrt)),
  /**
   * Of those alone that make it: a layer behind it may read an empty channel with what weights it likes. `l2` where
   * there are none.
   */
  'filter-l2': normalized((model, group) => {
    const makes = group.members.some(isFilter)
    return summed(model, group, makes ? isFilter : isWeight, (value) => value * value).map(Math.sqrt)
  }),
  /** |γ| of the normalizations behind the layer; `l2` where there are none. */
  'batch-norm-gamma': normalized((model, group) => {
    const scales = group.members.filter(({ role }) => role === 'norm-scale')
    return scales.length === 0
      ? energy(model, group).map(Math.sqrt)
      : summed(model, group, ({ role }) => role === 'norm-scale', Math.abs)
  }),
  /** Distance to the other filters, summed (He et al., "Filter pruning via geometric median"): what others can stand in for goes first. */
  'geometric-median': normalized(distances),
  /** Share of a channel's squares in those at least as large (Lee et al., "Layer-adaptive sparsity"). */
  lamp,
} as const satisfies Readonly<Record<string, WeightImportance>>

type WeightImportance = (model: Model, group: ChannelGroup) => Float64Array

export function isWeight({ role }: GroupMember): boolean {
  return role === 'filter' || role === 'reader' || role === 'operand'
}

function isFilter({ role }: GroupMember): boolean {
  return role === 'filter'
}

function normalized(score: WeightImportance): WeightImportance {
  return (model, group) => {
    const scores = score(model, group)
    const mean = scores.reduce((sum, one) => sum + one, 0) / scores.length
    return mean > 0 ? scores.map((one) => one / mean) : scores
  }
}

function energy(model: Model, group: ChannelGroup): Float64Array {
  return summed(model, group, isWeight, (value) => value * value)
}

function summed(
  model: Model,
  group: ChannelGroup,
  counts: (member: GroupMember) => boolean,
  of: (value: number) => number,
): Float64Array {
  const sums = new Float64Array(group.channels.length)
  for (const member of group.members.filter(counts)) {
    const laid = floatsOf(model, member)
    if (laid === undefined) continue
    const { values, outer, length, inner } = laid
    const channelOf = new Int32Array(length).fill(-1)
    for (const [channel, positions] of member.positions.entries()) for (const at of positions) channelOf[at] = channel
    for (let row = 0; row < outer; row++) {
      for (let at = 0; at < length; at++) {
        const channel = channelOf[at] ?? -1
        if (channel === -1) continue
        const start = (row * length + at) * inner
        let sum = 0
        for (let index = start; index < start + inner; index++) sum += of(values[index] ?? 0)
        sums[channel] = (sums[channel] ?? 0) + sum
      }
    }
  }
  return sums
}

function lamp(model: Model, group: ChannelGroup): Float64Array {
  const squares = energy(model, group)
  const ascending = [...squares.keys()].sort((a, b) => (squares[a] ?? 0) - (squares[b] ?? 0) || a - b)
  const scores = new Float64Array(squares.length)
  let tail = 0
  for (const channel of ascending.reverse()) {
    const own = squares[channel] ?? 0
    tail += own
    scores[channel] = tail > 0 ? own / tail : 0
  }
  return scores
}

function distances(model: Model, group: ChannelGroup): Float64Array {
  const count = group.channels.length
  const squared = new Float64Array(count * count)
  for (const member of group.members.filter(({ role }) => role === 'filter')) {
    const filters = slices(model, member)
    for (const [one, left] of filters.entries()) {
      for (let other = one + 1; other < count; other++) {
        const right = filters[other] ?? left
        let sum = 0
        for (let at = 0; at < left.length; at++) sum += ((left[at] ?? 0) - (right[at] ?? 0)) ** 2
        squared[one * count + other] = (squared[one * count + other] ?? 0) + sum
      }
    }
  }
  const sums = new Float64Array(count)
  for (let one = 0; one < count; one++) {
    for (let other = one + 1; other < count; other++) {
      const distance = Math.sqrt(squared[one * count + other] ?? 0)
      sums[one] = (sums[one] ?? 0) + distance
      sums[other] = (sums[other] ?? 0) + distance
    }
  }
  return sums
}

/** What of the member's tensor belongs to each channel of the group; empty where it does not hold floats. */
function slices(model: Model, member: GroupMember): readonly Float32Array[] {
  const laid = floatsOf(model, member)
  if (laid === undefined) return member.positions.map(() => new Float32Array(0))
  const { values, outer, length, inner } = laid
  return member.positions.map((positions) => {
    const slice = new Float32Array(outer * positions.length * inner)
    let to = 0
    for (let row = 0; row < outer; row++) {
      for (const at of positions) {
        const start = (row * length + at) * inner
        for (let index = start; index < start + inner; index++) slice[to++] = values[index] ?? 0
      }
    }
    return slice
  })
}

interface LaidOut {
  readonly values: Float32Array
  /** Rows before the member's axis, positions on it, and elements of each. */
  readonly outer: number
  readonly length: number
  readonly inner: number
}

function floatsOf(model: Model, { tensor: name, axis }: GroupMember): LaidOut | undefined {
  const tensor = model.graph.initializers.get(name)
  if (tensor?.dataType !== 'FLOAT') return undefined
  return {
    values: asFloat32(tensor),
    outer: elementCount(tensor.dims.slice(0, axis)),
    length: tensor.dims[axis] ?? 1,
    inner: elementCount(tensor.dims.slice(axis + 1)),
  }
}
