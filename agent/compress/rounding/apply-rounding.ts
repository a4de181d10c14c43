import type { Pass } from '@edgefit/shared/model'
import type { CalibrationProgress } from '../calibration/collect.ts'
import type { Sampling } from '../calibration/run-samples.ts'
import { type Roundable, roundAdaptively } from './round-adaptively.ts'
import { embeddedRoundings, type Roundings, readRoundings } from './roundings.ts'

type RoundingPass = Pick<Extract<Pass, { pass: 'quantize-static' | 'quantize-weights' }>, 'rounding' | 'roundings'>

interface AppliedRounding {
  /** What the resolved pass has of it. */
  readonly resolved: Pick<RoundingPass, 'roundings'>
  readonly roundings: Roundings
  readonly notes: readonly string[]
}

/** Takes the roundings of the recipe, or finds them first. `sampling` is only asked for then. */
export async function applyRounding(
  { rounding, roundings }: RoundingPass,
  roundable: Roundable,
  sampling: (samples: number) => Sampling,
  onProgress: (progress: CalibrationProgress) => void,
): Promise<AppliedRounding> {
  if (roundings !== undefined) {
    const weights = roundable.layers.map((layer) => layer.weights)
    return { resolved: { roundings }, roundings: readRoundings(roundings, weights), notes: [] }
  }
  if (rounding === undefined) return { resolved: {}, roundings: new Map(), notes: [] }
  const found = await roundAdaptively(roundable, rounding, sampling(rounding.samples), (done, total) =>
    onProgress({ stage: 'rounding', done, total }),
  )
  return {
    resolved: { roundings: embeddedRoundings(found.roundings) },
    roundings: found.roundings,
    notes: [
      `weights of ${found.roundings.size} of ${roundable.layers.length} layers rounded adaptively`,
      ...found.notes,
    ],
  }
}
