import { seededRandom } from '@edgefit/shared/stats'
import { mixed, moved, symmetricBeta } from './augment.ts'
import { drawingOrder, mixedSeed } from './batches.ts'
import type { TrainingPlan } from './plan.ts'
import type { TrainingData } from './training-data.ts'

/** Samples by their turn: the n-th that a run draws, changed by chance as its plan says. Turns have no end. */
export interface DrawnData extends TrainingData {
  /** The sample whose turn it is. */
  sampleAt(turn: number): number
}

/** Keeps what chance does to samples apart from the order in which they come. */
const OF_CHANGES = 0x5bd1e995

/**
 * What a run by `plan` is shown of `data`. Depends on the plan and the turn alone, so that a run can go on at any update.
 *
 * @throws EdgefitError DATASET_INVALID when not even one batch can be filled.
 */
export function drawnData(
  data: TrainingData,
  { batch, seed, augmentation }: Pick<TrainingPlan, 'batch' | 'seed' | 'augmentation'>,
): DrawnData {
  const sampleAt = drawingOrder(data.count, batch, seed)
  const feedsAt: TrainingData['feeds'] = (turns) => data.feeds(turns.map(sampleAt))

  const changed = (how: NonNullable<typeof augmentation>): TrainingData['feeds'] => {
    return async (turns) => {
      const randoms = turns.map((turn) => seededRandom(mixedSeed(seed ^ OF_CHANGES, turn)))
      const feeds = await feedsAt(turns)
      const name = how.input ?? Object.keys(feeds)[0] ?? ''
      const own = moved(feeds[name], how, randoms)
      if (how.mixup === undefined) return { ...feeds, [name]: own }
      const alpha = how.mixup
      const partners = await data.feeds(randoms.map((random) => Math.floor(random() * data.count)))
      const other = moved(partners[name], how, randoms)
      const shares = randoms.map((random) => symmetricBeta(alpha, random))
      return { ...feeds, [name]: mixed(own, other, shares) }
    }
  }

  return {
    count: data.count,
    hasLabels: data.hasLabels,
    sampleAt,
    feeds: augmentation === undefined ? feedsAt : changed(augmentation),
    labels: (turns) => data.labels(turns.map(sampleAt)),
  }
}
