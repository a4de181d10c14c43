import { EdgefitError } from '../errors.ts'
import type { SplitSpec } from '../model/split-spec.ts'
import { seededRandom, shuffled } from '../stats/random.ts'

const LARGEST_CALIBRATION = 512
const CALIBRATION_SHARE = 0.1
const TUNING_SHARE = 0.3

/** Row numbers of the parts, each in random order: the first k of a part are a fair sample of it. */
export interface SplitIndices {
  readonly calibration: Uint32Array
  readonly tuning: Uint32Array
  readonly evaluation: Uint32Array
  /** The rows of `calibration` where the split has none of its own; disjoint from the other parts. */
  readonly training: Uint32Array
}

/**
 * A tenth for calibration, 512 at most (ranges and error statistics have settled by then), three tenths for tuning,
 * the rest for evaluation: the verdict is one measurement on it, and proving a floor takes many samples. For recipes that
 * train, half of the samples is set aside for that first.
 *
 * @throws EdgefitError DATASET_INVALID for fewer than 3 samples
 */
export function defaultSplit(count: number, seed = 0, trains = false): SplitSpec {
  const training = trains && count >= 6 ? Math.floor(count / 2) : 0
  if (training > 0) return { ...defaultSplit(count - training, seed), training }
  if (count < 3) {
    throw new EdgefitError(
      `a dataset of ${count} samples cannot be split into calibration, tuning and evaluation; it needs at least 3`,
      { code: 'DATASET_INVALID', details: { count } },
    )
  }
  const calibration = Math.min(LARGEST_CALIBRATION, Math.max(1, Math.floor(count * CALIBRATION_SHARE)))
  const tuning = Math.max(1, Math.floor(count * TUNING_SHARE))
  return { seed, calibration, tuning, evaluation: count - calibration - tuning }
}

/**
 * The rows of each part: the same for the same count and spec on every machine. Rows beyond the sum of the parts are
 * left out.
 *
 * @throws EdgefitError DATASET_INVALID when the parts together exceed the dataset
 */
export function splitIndices(
  count: number,
  { seed, calibration, tuning, evaluation, training = 0 }: SplitSpec,
): SplitIndices {
  const judged = calibration + tuning + evaluation
  const wanted = judged + training
  if (wanted > count) {
    throw new EdgefitError(
      `the split asks for ${[calibration, tuning, evaluation, ...(training > 0 ? [training] : [])].join(' + ')} = ${wanted} samples, the dataset has ${count}; ` +
        'lower one of them',
      { code: 'DATASET_INVALID', details: { count, wanted } },
    )
  }
  const order = Uint32Array.from(shuffled(Array(count).keys(), seededRandom(seed)))
  const calibrated = order.slice(0, calibration)
  return {
    calibration: calibrated,
    tuning: order.slice(calibration, calibration + tuning),
    evaluation: order.slice(calibration + tuning, judged),
    training: training > 0 ? order.slice(judged, wanted) : calibrated,
  }
}
