import type { PredictCuts } from './cut-predictor.ts'
import { largestCounts } from './largest-count.ts'
import { type RankedGroup, removedIds } from './rank-channels.ts'

/** A larger count that keeps this share of the time that the asked one saves is as good as free. */
const SAVING_KEPT = 0.95

/**
 * As many channels of each group as the box computes about as fast as `asked`: never fewer than asked, and all of a
 * group where nothing is won by removing them. Each group is looked at with the others as asked.
 */
export async function alignedCounts(
  ranked: readonly RankedGroup[],
  asked: readonly number[],
  predict: PredictCuts,
): Promise<readonly number[]> {
  const allOf = (at: number): number => ranked[at]?.order.length ?? 0
  const pruned = [...asked.keys()].filter((at) => (asked[at] ?? 0) < allOf(at))
  const withCount = (at: number, count: number) => removedIds(ranked, asked.with(at, count))
  const [askedMs = 0, ...wholeMs] = await predict([
    removedIds(ranked, asked),
    ...pruned.map((at) => withCount(at, allOf(at))),
  ])
  const searches = pruned.map((at, search) => ({
    low: asked[at] ?? 0,
    high: allOf(at),
    limitMs: askedMs + (1 - SAVING_KEPT) * Math.max(0, (wholeMs[search] ?? 0) - askedMs),
  }))
  const found = await largestCounts(searches, (counts) =>
    predict(counts.map(({ search, count }) => withCount(pruned[search] ?? 0, count))),
  )
  const aligned = [...asked]
  for (const [search, at] of pruned.entries()) aligned[at] = found[search]?.count ?? asked[at] ?? 0
  return aligned
}
