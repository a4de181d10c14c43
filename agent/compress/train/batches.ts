import { EdgefitError } from '@edgefit/shared'
import { seededRandom, shuffled } from '@edgefit/shared/stats'

/**
 * Which samples each step trains on: every epoch all of them once, in an order of its own, less the few that do not fill
 * a batch. The order of an epoch depends on the seed and its number alone, so a run can go on at any step.
 *
 * @throws EdgefitError DATASET_INVALID when not even one batch can be filled.
 */
export function batchOrder(count: number, batch: number, seed: number): (step: number) => readonly number[] {
  if (batch > count) {
    throw new EdgefitError(
      `a batch of ${batch} is larger than the ${count} training samples; lower "batch" or give more data`,
      { code: 'DATASET_INVALID', details: { batch, count } },
    )
  }
  const perEpoch = Math.floor(count / batch)
  let epoch = -1
  let order: readonly number[] = []
  return (step) => {
    const wanted = Math.floor(step / perEpoch)
    if (wanted !== epoch) {
      epoch = wanted
      order = shuffled(Array(count).keys(), seededRandom(mixedSeed(seed, epoch)))
    }
    const start = (step % perEpoch) * batch
    return order.slice(start, start + batch)
  }
}

/** `samples` in so many parts of the same size. */
export function inParts(samples: readonly number[], parts: number): readonly (readonly number[])[] {
  const size = samples.length / parts
  return Array.from({ length: parts }, (_, part) => samples.slice(part * size, (part + 1) * size))
}

/** A seed for what comes `at`-th. Neighbours must not give neighbouring numbers: an integer hash (Knuth's multiplicative one). */
export function mixedSeed(seed: number, at: number): number {
  return (Math.imul(seed, 0x9e3779b1) ^ Math.imul(at + 1, 0x85ebca6b)) | 0
}
