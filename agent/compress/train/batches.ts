import { EdgefitError } from '@edgefit/shared'
import { seededRandom, shuffled } from '@edgefit/shared/stats'

/**
 * Which sample is drawn at which turn: every epoch all of them once, in an order of its own, less the few that do not fill
 * a batch. The order of an epoch depends on the seed and its number alone, so a run can go on at any turn.
 *
 * @throws EdgefitError DATASET_INVALID when not even one batch can be filled.
 */
export function drawingOrder(count: number, batch: number, seed: number): (turn: number) => number {
  requireOneBatch(count, batch)
  const perEpoch = count - (count % batch)
  let epoch = -1
  let order: readonly number[] = []
  return (turn) => {
    const wanted = Math.floor(turn / perEpoch)
    if (wanted !== epoch) {
      epoch = wanted
      order = shuffled(Array(count).keys(), seededRandom(mixedSeed(seed, epoch)))
    }
    return order[turn % perEpoch] ?? 0
  }
}

/** @throws EdgefitError DATASET_INVALID when `count` samples do not fill a batch. */
export function requireOneBatch(count: number, batch: number): void {
  if (batch <= count) return
  throw new EdgefitError(
    `a batch of ${batch} is larger than the ${count} training samples; lower "batch" or give more data`,
    { code: 'DATASET_INVALID', details: { batch, count } },
  )
}

/** `samples` in so many parts of the same size. */
export function inParts(samples: readonly number[], parts: number): readonly (readonly number[])[] {
  const size = samples.length / parts
  return Array.from({ length: parts }, (_, part) => samples.slice(part * size, (part + 1) * size))
}

/**
 * A seed for what comes `at`-th. A generator's first numbers are near its seed: neighbours get seeds far apart, by the
 * finalizer of MurmurHash3.
 */
export function mixedSeed(seed: number, at: number): number {
  let hash = Math.imul(seed, 0x9e3779b1) ^ Math.imul(at + 1, 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return hash ^ (hash >>> 16)
}
