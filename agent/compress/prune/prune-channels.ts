import { EdgefitError } from '@edgefit/shared'
import type { Pass } from '@edgefit/shared/model'
import { indexGraph, type Model } from '@edgefit/shared/onnx'
import { nodeLabel, refuseUnknownNodes } from '../node-label.ts'
import type { PassResult } from '../pass-report.ts'
import { type ChannelGroup, type DependencyGroups, dependencyGroups } from './dependency-groups.ts'
import { IMPORTANCES, type Importance } from './importance.ts'
import { type KeepLists, keepListsOf, removedBy } from './keep-lists.ts'
import { rankChannels, removedIds } from './rank-channels.ts'
import { removeChannels } from './remove-channels.ts'
import { isSelection, keptCounts } from './select-channels.ts'

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
 * @throws EdgefitError RECIPE_INVALID for names the model does not have, keep-lists of another model, or a target that
 * only measurements can meet, or an importance by gradients, which are not taken here; MODEL_UNSUPPORTED when no channel
 * can be removed; MODEL_INVALID for weights that are not finite.
 */
export function pruneChannels(model: Model, pass: PruneChannelsPass): ChannelPruning {
  const from = dependencyGroups(model)
  return withoutChannels(model, from, pass, pass.keep === undefined ? chosen(from, pass) : removedBy(from, pass.keep))
}

/** `model`, which `from` was made of, without the channels of `removed`. */
export function withoutChannels(
  model: Model,
  from: DependencyGroups,
  pass: PruneChannelsPass,
  removed: ReadonlySet<number>,
): ChannelPruning {
  const keep = keepListsOf(from, removed)
  const pruned = removed.size === 0 ? model : removeChannels(from, removed)
  return {
    resolved: { ...pass, keep: mutable(keep) },
    result: { model: pruned, notes: [...removalNotes(from, removed), ...frozenNotes(from)] },
  }
}

/**
 * The groups that `pass` may take channels from.
 *
 * @throws EdgefitError RECIPE_INVALID for names the model does not have; MODEL_UNSUPPORTED when no channel can be
 * removed.
 */
export function prunableGroups(from: DependencyGroups, pass: PruneChannelsPass): readonly ChannelGroup[] {
  if (from.groups.length === 0) {
    throw new EdgefitError(
      `no channel can be removed: ${frozenNotes(from).join('; ') || 'no layer has float32 constants for weights; prune before quantizing'}`,
      {
        code: 'MODEL_UNSUPPORTED',
      },
    )
  }
  const { target } = pass
  if (target.by === 'ratio' && typeof target.ratio !== 'number') refuseUnknownGroups(from, Object.keys(target.ratio))
  const excluded = excludedIds(from, pass.exclude)
  return from.groups.filter(({ channels }) => !channels.some(({ id }) => excluded.has(id)))
}

/** @throws EdgefitError RECIPE_INVALID for an importance that weights alone do not tell. */
export function importanceOfWeights(pass: PruneChannelsPass): Importance {
  if (pass.importance !== 'taylor') return IMPORTANCES[pass.importance]
  throw new EdgefitError(
    'importance "taylor" takes gradients, which need samples and a task that says what the outputs mean; ' +
      'give a dataset and a task, choose another importance, or take a resolved recipe',
    { code: 'RECIPE_INVALID', details: { importance: pass.importance } },
  )
}

function chosen(from: DependencyGroups, pass: PruneChannelsPass): ReadonlySet<number> {
  const { target } = pass
  if (!isSelection(target) || target.alignTo === 'measured') throw needsMeasurements(pass)
  const ranked = rankChannels(from.model, prunableGroups(from, pass), importanceOfWeights(pass))
  return removedIds(ranked, keptCounts(ranked, target, target.alignTo))
}

/** What a pass gets that asks for measurements where nothing is measured. */
export function needsMeasurements({ target }: PruneChannelsPass): EdgefitError {
  const asked = isSelection(target) ? 'target.alignTo "measured"' : `target.by "${target.by}"`
  const remedy = isSelection(target) ? 'give "alignTo" a number' : 'remove by "ratio", with a number for "alignTo"'
  return new EdgefitError(
    `${asked} needs latencies of operators on this box, and nothing measures them here; ${remedy}, or take a resolved recipe`,
    { code: 'RECIPE_INVALID', details: { target } },
  )
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
