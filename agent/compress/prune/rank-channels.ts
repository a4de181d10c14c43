import { EdgefitError } from '@edgefit/shared'
import type { Model } from '@edgefit/shared/onnx'
import type { ChannelGroup } from './dependency-groups.ts'
import type { Importance } from './importance.ts'

/** A group and its channels in the order in which they go. */
export interface RankedGroup {
  readonly group: ChannelGroup
  /** In the group's order. */
  readonly scores: Float64Array
  /** Positions in `group.channels`, from the least important on. */
  readonly order: readonly number[]
}

/** However unimportant, this share of a group stays: a layer worn down to a thread is where networks break. */
const KEPT_AT_LEAST = 0.1

/**
 * @returns the groups that `importance` can tell of
 * @throws EdgefitError MODEL_INVALID for weights that are not finite.
 */
export function rankChannels(
  model: Model,
  groups: readonly ChannelGroup[],
  importance: Importance,
): readonly RankedGroup[] {
  return groups.flatMap((group) => {
    const scores = importance(model, group)
    if (scores === undefined) return []
    if (!scores.every(Number.isFinite)) {
      throw new EdgefitError(`weights of "${group.value}" are not finite numbers; export or train the model again`, {
        code: 'MODEL_INVALID',
        details: { value: group.value },
      })
    }
    const order = [...scores.keys()].sort((a, b) => (scores[a] ?? 0) - (scores[b] ?? 0) || a - b)
    return { group, scores, order }
  })
}

/** Channels that a group is never left without. */
export function leastKept({ channels }: ChannelGroup): number {
  return Math.max(1, Math.ceil(channels.length * KEPT_AT_LEAST))
}

/** Ids of the channels that go when `kept` of each group stay. */
export function removedIds(ranked: readonly RankedGroup[], kept: readonly number[]): ReadonlySet<number> {
  return new Set(
    ranked.flatMap(({ group, order }, at) =>
      order.slice(0, order.length - (kept[at] ?? order.length)).flatMap((channel) => group.channels[channel]?.id ?? []),
    ),
  )
}
