import { EdgefitError } from '../errors.ts'
import type { SplitSpec } from '../model/split-spec.ts'
import { seededRandom, shuffled } from '../stats/random.ts'

const LARGEST_CALIBRATION = 512
const CALIBRATION_SHARE = 0.1
const TUNING_SHARE = 0.3

/** Row numbers of the three parts, disjoint, each in random order: the first k of a part are a fair sample of it. */
export interface SplitIndices {
  readonly calibration: Uint32Array
  readonly tuning: Uint32Array
  readonly evaluation: Uint32Array
}

/**
 * A tenth for calibration, 512 at most (ranges and error statistics have settled by then), three tenths for tuning,
 * the rest for evaluation: the verdict is one measurement on it, and proving a floor takes many samples.
 *
 * @throws EdgefitError DATASET_INVALID for fewer than 3 samples
 */
export function defaultSplit(count: number, seed = 0): SplitSpec {
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
export function splitIndices(count: number, { seed, calibration, tuning, evaluation }: SplitSpec): SplitIndices {
  const wanted = calibration + tuning + evaluation
  if (wanted > count) {
    throw new EdgefitError(
      `the split asks for ${calibration} + ${tuning} + ${evaluation} = ${wanted} samples, the dataset has ${count}; ` +
        'lower one of them',
      { code: 'DATASET_INVALID', details: { count, wanted } },
    )
  }
  const order = Uint32Array.from(shuffled(Array(count).keys(), seededRandom(seed)))
  return {
    calibration: order.slice(0, calibration),
    tuning: order.slice(calibration, calibration + tuning),
    evaluation: order.slice(calibration + tuning, wanted),
  }
}
