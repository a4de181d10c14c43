import type { Pass } from '@edgefit/shared/model'
import type { ChannelGroup } from './dependency-groups.ts'
import { leastKept, type RankedGroup } from './rank-channels.ts'

type Target = Extract<Pass, { pass: 'prune-channels' }>['target']
/** A target that importance alone decides, without latencies. */
export type Selection = Extract<Target, { by: 'ratio' | 'importance' }>

export function isSelection(target: Target): target is Selection {
  return target.by === 'ratio' || target.by === 'importance'
}

/**
 * How many channels of each group stay; never none.
 *
 * @param multipleOf what is left of a group is rounded up to a multiple of this many positions on its axis
 */
export function keptCounts(
  ranked: readonly RankedGroup[],
  selection: Selection,
  multipleOf: number,
): readonly number[] {
  const counts = removedCounts(ranked, selection)
  return ranked.map(({ group }, at) => group.channels.length - rounded(group, counts[at] ?? 0, multipleOf))
}

function removedCounts(ranked: readonly RankedGroup[], selection: Selection): readonly number[] {
  if (selection.by === 'importance') return ranked.map((group) => unimportant(group, selection.below))
  const { ratio, scope } = selection
  if (scope === 'global' && typeof ratio === 'number') return globalCounts(ranked, ratio)
  return ranked.map(({ group: { value, channels } }) => {
    const own = typeof ratio === 'number' ? ratio : (ratio[value] ?? 0)
    // A hair more, so that 0.3 of 10 is 3.
    return Math.floor(channels.length * own + 1e-9)
  })
}

/** How many are below this share of the largest, of those that may go. */
function unimportant({ group, scores }: RankedGroup, below: number): number {
  const largest = Math.max(...scores)
  return Math.min(scores.filter((score) => score < below * largest).length, group.channels.length - leastKept(group))
}

function globalCounts(ranked: readonly RankedGroup[], ratio: number): readonly number[] {
  const candidates = ranked.flatMap(({ group, scores, order }, at) =>
    order.slice(0, order.length - leastKept(group)).map((channel) => ({
      at,
      score: scores[channel] ?? 0,
      positions: group.channels[channel]?.positions.length ?? 1,
    })),
  )
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
