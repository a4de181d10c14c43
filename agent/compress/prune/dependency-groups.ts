import { inferShapes, type Model } from '@edgefit/shared/onnx'
import { simplify } from '../simplify.ts'
import type { ChannelLabels, Labels } from './channel-labels.ts'
import { type Propagation, propagateChannels, type Site } from './propagate.ts'
import type { MemberRole } from './rule.ts'

/**
 * Channels that lie on the same axes everywhere, so that any of them may go as long as one stays: what a layer makes, and
 * whatever follows from it.
 */
export interface ChannelGroup {
  /** The first value that holds these channels, and its axis. */
  readonly value: string
  readonly axis: number
  readonly channels: readonly Channel[]
  /** Constants that shrink with the group. */
  readonly members: readonly GroupMember[]
}

/** What goes as one. */
interface Channel {
  readonly id: number
  /** On the group's axis; several where groups of a convolution or a layout tie them. */
  readonly positions: readonly number[]
}

export interface GroupMember {
  readonly tensor: string
  readonly axis: number
  readonly role: MemberRole
  /** For each channel of the group its positions on `axis`. */
  readonly positions: readonly (readonly number[])[]
}

/** Channels of a layer that stay, and why. */
interface FrozenChannels {
  readonly value: string
  readonly count: number
  readonly reason: string
}

export interface DependencyGroups {
  /** The model the groups speak of: constants folded, shapes inferred. */
  readonly model: Model
  readonly groups: readonly ChannelGroup[]
  readonly frozen: readonly FrozenChannels[]
  readonly propagation: Propagation
}

/** Which channels of `model` can be removed, and what goes with each. */
export function dependencyGroups(model: Model): DependencyGroups {
  const prepared = inferShapes(simplify(model))
  const propagation = propagateChannels(prepared)
  const { labels, activations, constants } = propagation
  const groupOf = partition(labels, [...activations, ...constants])
  const anchors = new Map<number, Site>()
  for (const site of activations) {
    for (const label of site.labels) {
      const group = groupOf.get(labels.classOf(label)) ?? -1
      if (!anchors.has(group)) anchors.set(group, site)
    }
  }
  const members = membersByGroup(labels, constants, groupOf)
  const groups: ChannelGroup[] = []
  const frozen: FrozenChannels[] = []
  const axisOf = new Map<string, number>()
  for (const [group, { value, axis, labels: own }] of anchors) {
    const parts = members.get(group) ?? []
    if (parts.length === 0) continue
    const positions = positionsOf(labels, own, (id) => groupOf.get(id) === group)
    const ids = [...positions.keys()]
    const reason =
      ids.map((id) => labels.frozenBecause(id)).find((one) => one !== undefined) ?? notFloat(prepared, parts)
    const isLayer = parts.some(({ site }) => site.role === 'filter')
    if (reason !== undefined) {
      if (isLayer) frozen.push({ value, count: ids.length, reason })
    } else if ((axisOf.get(value) ?? axis) !== axis) {
      frozen.push({ value, count: ids.length, reason: 'another axis of the same value holds channels too' })
    } else if (ids.length === 1) {
      const together = positions.get(ids[0] ?? -1)?.length ?? 0
      if (together > 1) frozen.push({ value, count: together, reason: 'they all go together' })
    } else {
      axisOf.set(value, axis)
      groups.push({
        value,
        axis,
        channels: [...positions].map(([id, at]) => ({ id, positions: at })),
        members: parts.map(({ site, positions: at }) => ({
          tensor: site.value,
          axis: site.axis,
          role: site.role ?? 'operand',
          positions: ids.map((id) => at.get(id) ?? []),
        })),
      })
    }
  }
  return { model: prepared, groups, frozen, propagation }
}

/** What cannot be judged is not cut. */
function notFloat({ graph }: Model, parts: readonly Part[]): string | undefined {
  const types = parts.map(({ site }) => graph.initializers.get(site.value)?.dataType)
  const other = types.find((type) => type !== 'FLOAT')
  return other === undefined ? undefined : `a constant they take part in is ${other}; prune float32 models`
}

/** Class → group, where a group's classes lie on the same sites. */
function partition(labels: ChannelLabels, sites: readonly Site[]): ReadonlyMap<number, number> {
  const groupOf = new Map<number, number>()
  const seen = new Set<Labels>()
  let nextGroup = 1
  for (const site of sites) {
    // Pass-through operators hand on the very array, which tells nothing new.
    if (seen.has(site.labels)) continue
    seen.add(site.labels)
    const refined = new Map<string, number>()
    for (const id of new Set(site.labels.map(labels.classOf))) {
      const reason = labels.frozenBecause(id) ?? ''
      const before = `${groupOf.get(id) ?? 0} ${reason}`
      const group = refined.get(before) ?? nextGroup++
      refined.set(before, group)
      groupOf.set(id, group)
    }
  }
  return groupOf
}

interface Part {
  readonly site: Site
  readonly positions: ReadonlyMap<number, readonly number[]>
}

function membersByGroup(
  labels: ChannelLabels,
  constants: readonly Site[],
  groupOf: ReadonlyMap<number, number>,
): ReadonlyMap<number, readonly Part[]> {
  const members = new Map<number, Part[]>()
  for (const site of constants) {
    const positions = positionsOf(labels, site.labels, () => true)
    for (const group of new Set([...positions.keys()].map((id) => groupOf.get(id) ?? -1))) {
      const parts = members.get(group) ?? []
      parts.push({ site, positions })
      members.set(group, parts)
    }
  }
  return members
}

function positionsOf(
  labels: ChannelLabels,
  axis: Labels,
  includes: (id: number) => boolean,
): ReadonlyMap<number, readonly number[]> {
  const positions = new Map<number, number[]>()
  for (const [at, label] of axis.entries()) {
    const id = labels.classOf(label)
    if (!includes(id)) continue
    const own = positions.get(id)
    if (own === undefined) positions.set(id, [at])
    else own.push(at)
  }
  return positions
}
