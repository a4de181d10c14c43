import { EdgefitError } from '@edgefit/shared'
import type { Pass } from '@edgefit/shared/model'
import { indexGraph, type Model } from '@edgefit/shared/onnx'
import { nodeLabel, refuseUnknownNodes } from '../node-label.ts'
import type { PassResult } from '../pass-report.ts'
import { type ChannelGroup, type DependencyGroups, dependencyGroups } from './dependency-groups.ts'
import { IMPORTANCES } from './importance.ts'
import { type KeepLists, keepListsOf, removedBy } from './keep-lists.ts'
import { removeChannels } from './remove-channels.ts'
import { selectChannels } from './select-channels.ts'

export type PruneChannelsPass = Extract<Pass, { pass: 'prune-channels' }>

export interface ChannelPruning {
  /** The pass with the channels that stay: gives the same bytes anywhere. */
  readonly resolved: PruneChannelsPass
  readonly result: PassResult
}

/**
 * Removes whole channels from the layers of `model`, and with them what other layers read of them. Accuracy is lost;
 * time is won only as far as measuring shows it.
 *
 * @throws EdgefitError RECIPE_INVALID for names the model does not have, or keep-lists of another model;
 * MODEL_UNSUPPORTED when no channel can be removed.
 */
export function pruneChannels(model: Model, pass: PruneChannelsPass): ChannelPruning {
  const from = dependencyGroups(model)
  const removed = pass.keep === undefined ? chosen(from, pass) : removedBy(from, pass.keep)
  const keep = keepListsOf(from, removed)
  const pruned = removed.size === 0 ? model : removeChannels(from, removed)
  return {
    resolved: { ...pass, keep: mutable(keep) },
    result: { model: pruned, notes: [...removalNotes(from, removed), ...frozenNotes(from)] },
  }
}

function chosen(from: DependencyGroups, pass: PruneChannelsPass): ReadonlySet<number> {
  if (from.groups.length === 0) {
    throw new EdgefitError(
      `no channel can be removed: ${frozenNotes(from).join('; ') || 'no layer has float32 constants for weights; prune before quantizing'}`,
      {
        code: 'MODEL_UNSUPPORTED',
      },
    )
  }
  if (typeof pass.ratio !== 'number') refuseUnknownGroups(from, Object.keys(pass.ratio))
  const excluded = excludedIds(from, pass.exclude)
  const groups = from.groups.filter(({ channels }) => !channels.some(({ id }) => excluded.has(id)))
  return selectChannels(from, groups, { ...pass, importance: IMPORTANCES[pass.importance] })
}

function refuseUnknownGroups({ groups }: DependencyGroups, names: readonly string[]): void {
  const known = new Set(groups.map(({ value }) => value))
  const unknown = names.filter((name) => !known.has(name))
  if (unknown.length === 0) return
  throw new EdgefitError(
    `ratio names ${unknown.map((name) => `"${name}"`).join(', ')}, whose channels cannot be removed; choose among ${[...known].map((name) => `"${name}"`).join(', ')}`,
    { code: 'RECIPE_INVALID', details: { unknown } },
  )
}

/** Channels that the outputs of excluded nodes hold. */
function excludedIds({ model, propagation }: DependencyGroups, exclude: readonly string[]): ReadonlySet<number> {
  refuseUnknownNodes(model.graph, exclude)
  const labels = new Set(exclude)
  const index = indexGraph(model.graph)
  return new Set(
    propagation.activations.flatMap(({ value, labels: own }) => {
      const producer = index.producer(value)
      return producer !== undefined && labels.has(nodeLabel(producer)) ? [...own].map(propagation.labels.classOf) : []
    }),
  )
}

function removalNotes({ groups }: DependencyGroups, removed: ReadonlySet<number>): readonly string[] {
  const positions = (group: ChannelGroup, counts: (id: number) => boolean): number =>
    group.channels.reduce((sum, { id, positions: at }) => sum + (counts(id) ? at.length : 0), 0)
  const touched = groups.filter(({ channels }) => channels.some(({ id }) => removed.has(id)))
  const gone = groups.reduce((sum, group) => sum + positions(group, (id) => removed.has(id)), 0)
  const all = groups.reduce((sum, group) => sum + positions(group, () => true), 0)
  return [`removed ${gone} of ${all} channels, in ${touched.length} of ${groups.length} groups`]
}

const NAMED = 6

function frozenNotes({ frozen }: DependencyGroups): readonly string[] {
  const byReason = new Map<string, string[]>()
  for (const { value, reason } of frozen) byReason.set(reason, [...(byReason.get(reason) ?? []), value])
  return [...byReason].map(([reason, values]) => {
    const more = values.length > NAMED ? ` and ${values.length - NAMED} more` : ''
    return `channels of ${values
      .slice(0, NAMED)
      .map((value) => `"${value}"`)
      .join(', ')}${more} stay, ${reason}`
  })
}

function mutable(keep: KeepLists): Record<string, number[]> {
  return Object.fromEntries(Object.entries(keep).map(([value, positions]) => [value, [...positions]]))
}
