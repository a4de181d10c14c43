import { EdgefitError } from '@edgefit/shared'
import type { ChannelGroup, DependencyGroups } from './dependency-groups.ts'
import type { Importance } from './importance.ts'

export interface Selection {
  /** Share of the channels to remove: one for all groups, or by the value that names a group, others staying whole. */
  readonly ratio: number | Readonly<Record<string, number>>
  /** `global`: the least important of all groups together. Needs one ratio. */
  readonly scope: 'global' | 'per-layer'
  readonly importance: Importance
  /** What is left of a group is rounded up to a multiple of this many positions on its axis. */
  readonly multipleOf: number
}

/** However unimportant, this share of a group stays: a layer worn down to a thread is where networks break. */
const KEPT_AT_LEAST = 0.1

/**
 * Ids of the channels to remove from `groups`. Never all of a group.
 *
 * @throws EdgefitError MODEL_INVALID for weights that are not finite.
 */
export function selectChannels(
  { model }: DependencyGroups,
  groups: readonly ChannelGroup[],
  { ratio, scope, importance, multipleOf }: Selection,
): ReadonlySet<number> {
  const ranked = groups.map((group) => {
    const scores = importance(model, group)
    if (!scores.every(Number.isFinite)) {
      throw new EdgefitError(`weights of "${group.value}" are not finite numbers; export or train the model again`, {
        code: 'MODEL_INVALID',
        details: { value: group.value },
      })
    }
    const order = [...scores.keys()].sort((a, b) => (scores[a] ?? 0) - (scores[b] ?? 0) || a - b)
    return { group, scores, order }
  })
  const counts =
    scope === 'global' && typeof ratio === 'number'
      ? globalCounts(ranked, ratio)
      : groups.map(({ value, channels }) => {
          const own = typeof ratio === 'number' ? ratio : (ratio[value] ?? 0)
          // A hair more, so that 0.3 of 10 is 3.
          return Math.floor(channels.length * own + 1e-9)
        })
  return new Set(
    ranked.flatMap(({ group, order }, at) =>
      order
        .slice(0, rounded(group, counts[at] ?? 0, multipleOf))
        .flatMap((channel) => group.channels[channel]?.id ?? []),
    ),
  )
}

interface Ranked {
  readonly group: ChannelGroup
  readonly scores: Float64Array
  /** Channels from the least important on. */
  readonly order: readonly number[]
}

function globalCounts(ranked: readonly Ranked[], ratio: number): readonly number[] {
  const candidates = ranked.flatMap(({ group, scores, order }, at) => {
    const removable = order.length - Math.max(1, Math.ceil(order.length * KEPT_AT_LEAST))
    return order.slice(0, removable).map((channel) => ({
      at,
      score: scores[channel] ?? 0,
      positions: group.channels[channel]?.positions.length ?? 1,
    }))
  })
  const total = ranked.reduce((sum, { group }) => sum + positionsOf(group), 0)
  const counts = ranked.map(() => 0)
  let left = Math.floor(total * ratio + 1e-9)
  // Sorting is stable: within a group the order stays that of its ranks.
  for (const { at, positions } of candidates.sort((a, b) => a.score - b.score)) {
    if (left < positions) continue
    left -= positions
    counts[at] = (counts[at] ?? 0) + 1
  }
  return counts
}

function positionsOf(group: ChannelGroup): number {
  return group.channels.reduce((sum, { positions }) => sum + positions.length, 0)
}

/** `count` less what brings the rest to a multiple; tied positions count as what they are. */
function rounded(group: ChannelGroup, count: number, multipleOf: number): number {
  const all = group.channels.length
  const tied = Math.max(1, Math.round(positionsOf(group) / all))
  let removed = Math.min(count, all - 1)
  while (removed > 0 && ((all - removed) * tied) % multipleOf !== 0) removed--
  return removed
}
