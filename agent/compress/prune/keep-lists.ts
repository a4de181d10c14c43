import { EdgefitError } from '@edgefit/shared'
import type { DependencyGroups } from './dependency-groups.ts'

/** Positions that stay, by the value that names a group. Values that keep everything are left out. */
export type KeepLists = Readonly<Record<string, readonly number[]>>

/** What stays when the channels of `removed` go. */
export function keepListsOf({ groups, propagation }: DependencyGroups, removed: ReadonlySet<number>): KeepLists {
  const keep: Record<string, readonly number[]> = {}
  for (const { value, axis, channels } of groups) {
    if (value in keep || !channels.some(({ id }) => removed.has(id))) continue
    const site = propagation.activations.find((one) => one.value === value && one.axis === axis)
    const own = [...(site?.labels ?? [])].map(propagation.labels.classOf)
    keep[value] = [...own.keys()].filter((at) => !removed.has(own[at] ?? -1))
  }
  return keep
}

/**
 * The channels that `keep` leaves out.
 *
 * @throws EdgefitError RECIPE_INVALID for a value that names no group, for channels that must stay or go with others, and
 * for a group of which nothing would be left.
 */
export function removedBy({ groups, frozen, propagation }: DependencyGroups, keep: KeepLists): ReadonlySet<number> {
  const removed = new Set<number>()
  for (const [value, positions] of Object.entries(keep)) {
    const own = groups.filter((group) => group.value === value)
    const [first] = own
    if (first === undefined) throw invalid(value, whyNot(value, frozen))
    const kept = new Set(positions)
    const site = propagation.activations.find((one) => one.value === value && one.axis === first.axis)
    const free = new Set<number>()
    for (const { channels } of own) {
      for (const { id, positions: together } of channels) {
        for (const position of together) free.add(position)
        const staying = together.filter((position) => kept.has(position)).length
        if (staying === 0) removed.add(id)
        else if (staying < together.length) throw invalid(value, `channels ${together.join(', ')} stay or go together`)
      }
      if (channels.every(({ id }) => removed.has(id))) throw invalid(value, 'a layer would lose all of its channels')
    }
    const length = site?.labels.length ?? 0
    for (const position of kept)
      if (position >= length) throw invalid(value, `it has ${length} channels, there is no ${position}`)
    for (let position = 0; position < length; position++) {
      if (!kept.has(position) && !free.has(position)) throw invalid(value, `channel ${position} cannot be removed`)
    }
  }
  return removed
}

function whyNot(value: string, frozen: DependencyGroups['frozen']): string {
  const reason = frozen.find((one) => one.value === value)?.reason
  return reason === undefined ? 'no channels go by this name' : `its channels must stay (${reason})`
}

function invalid(value: string, reason: string): EdgefitError {
  return new EdgefitError(`keep["${value}"]: ${reason}; take the lists of a recipe resolved for this very model`, {
    code: 'RECIPE_INVALID',
    details: { value },
  })
}
