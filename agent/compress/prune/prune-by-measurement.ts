import type { Model } from '@edgefit/shared/onnx'
import type { CalibrationProgress } from '../calibration/collect.ts'
import type { Sampling } from '../calibration/run-samples.ts'
import type { LatencyPredictor } from '../latency/latency-predictor.ts'
import { outputJudge } from '../sensitivity/output-judge.ts'
import { alignedCounts } from './align-counts.ts'
import { cutPredictor } from './cut-predictor.ts'
import { dependencyGroups } from './dependency-groups.ts'
import {
  type ChannelPruning,
  needsMeasurements,
  type PruneChannelsPass,
  pruneChannels,
  rankedGroups,
  withoutChannels,
} from './prune-channels.ts'
import { shrinkToLatency } from './prune-to-latency.ts'
import { removedIds } from './rank-channels.ts'
import { removeChannels } from './remove-channels.ts'
import { keptCounts } from './select-channels.ts'

type Target = PruneChannelsPass['target']

export interface PruningPorts {
  /** Absent where nothing is measured. */
  readonly predictor: LatencyPredictor | undefined
  readonly sampling: (samples: number) => Sampling
  readonly onProgress: (progress: CalibrationProgress) => void
}

/**
 * Removes channels as `pass` says, by what this box computes in which time where it asks for that. The judging is of the
 * outputs and without training: a pass that trains belongs after this one, and pruning further after that.
 *
 * @throws EdgefitError as `pruneChannels`; RECIPE_INVALID without a predictor; MODEL_UNSUPPORTED for a target that cannot be
 * reached; what the ports throw; the signal's reason.
 */
export async function pruneByMeasurement(
  model: Model,
  pass: PruneChannelsPass,
  { predictor, sampling, onProgress }: PruningPorts,
): Promise<ChannelPruning> {
  const { target, keep } = pass
  if (keep !== undefined || (target.by === 'ratio' && target.alignTo !== 'measured')) return pruneChannels(model, pass)
  if (predictor === undefined) throw needsMeasurements(pass)

  const from = dependencyGroups(model)
  const ranked = rankedGroups(from, pass)
  const { source, signal, ...judging } = sampling(target.by === 'ratio' ? 1 : target.samples)
  const predict = cutPredictor(from, predictor, await source.batch([0]), signal)
  if (target.by === 'ratio') {
    const asked = keptCounts(ranked, { ...target, multipleOf: 1 })
    return withoutChannels(model, from, pass, removedIds(ranked, await alignedCounts(ranked, asked, predict)))
  }

  const judge = await outputJudge(from.model, { ...judging, source, signal }, false)
  const shrunk = await shrinkToLatency(
    ranked,
    { latencyMs: (wholeMs) => latencyGoal(target, wholeMs), steps: target.steps },
    {
      predict,
      lossOf: async (removed) => (await judge.noiseOf(removeChannels(from, removed))).noiseRatio,
      onProgress: (done, total) => onProgress({ stage: 'pruning', done, total }),
      signal,
    },
  )
  const { resolved, result } = withoutChannels(model, from, pass, removedIds(ranked, shrunk.kept))
  const { wholeMs, latencyMs, loss } = shrunk
  const untimed = predictor.untimedOperators?.() ?? []
  const notes = [
    `predicted to take ${latencyMs.toPrecision(3)} ms after and ${wholeMs.toPrecision(3)} ms before`,
    ...(untimed.length === 0 ? [] : [`of that, ${untimed.join(', ')} could not be timed and count as nothing`]),
    ...(loss === 0 ? [] : [`outputs keep a signal-to-noise ratio of ${(-10 * Math.log10(loss)).toFixed(1)} dB`]),
  ]
  return { resolved, result: { ...result, notes: [...notes, ...result.notes] } }
}

function latencyGoal(target: Exclude<Target, { by: 'ratio' }>, wholeMs: number): number {
  switch (target.by) {
    case 'latency':
      return target.latencyMs
    case 'saved-time':
      return wholeMs - target.savedMs
    case 'saved-share':
      return wholeMs * (1 - target.savedShare)
  }
}
