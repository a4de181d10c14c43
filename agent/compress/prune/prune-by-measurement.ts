import type { Model } from '@edgefit/shared/onnx'
import type { CalibrationProgress } from '../calibration/collect.ts'
import type { Sampling } from '../calibration/run-samples.ts'
import type { LatencyPredictor } from '../latency/latency-predictor.ts'
import { outputJudge } from '../sensitivity/output-judge.ts'
import { alignedCounts } from './align-counts.ts'
import { cutPredictor } from './cut-predictor.ts'
import { type ChannelGroup, type DependencyGroups, dependencyGroups } from './dependency-groups.ts'
import {
  type ChannelPruning,
  importanceOfWeights,
  needsMeasurements,
  type PruneChannelsPass,
  prunableGroups,
  pruneChannels,
  withoutChannels,
} from './prune-channels.ts'
import { shrinkToLatency } from './prune-to-latency.ts'
import { type RankedGroup, rankChannels, removedIds } from './rank-channels.ts'
import { removeChannels } from './remove-channels.ts'
import { isSelection, keptCounts, type Selection } from './select-channels.ts'
import { type GradientSource, type JudgedChannels, taylorImportance } from './taylor-importance.ts'

type Target = PruneChannelsPass['target']

export interface PruningPorts {
  /** Absent where nothing is measured. */
  readonly predictor: LatencyPredictor | undefined
  /** Absent where there is nothing to take gradients of. */
  readonly gradients: GradientSource | undefined
  readonly sampling: (samples: number) => Sampling
  readonly onProgress: (progress: CalibrationProgress) => void
}

/** Counts of channels kept of each group, and what to tell of them. */
interface Chosen {
  readonly kept: readonly number[]
  readonly notes: readonly string[]
}

/** Samples that gradients are taken of where the pass does not say. */
const GRADIENT_SAMPLES = 512

/**
 * Removes channels as `pass` says, by gradients and by what this box computes in which time where it asks for that. The
 * judging is without training: a pass that trains belongs after this one, and pruning further after that.
 *
 * @throws EdgefitError as `pruneChannels` and `taylorImportance`; RECIPE_INVALID without a predictor, or gradients, where
 * the pass asks for them; MODEL_UNSUPPORTED for a target that cannot be reached; what the ports throw; the signal's reason.
 */
export async function pruneByMeasurement(
  model: Model,
  pass: PruneChannelsPass,
  ports: PruningPorts,
): Promise<ChannelPruning> {
  const { target, keep } = pass
  const measures = !isSelection(target) || target.alignTo === 'measured'
  if (keep !== undefined || !(measures || pass.importance === 'taylor')) return pruneChannels(model, pass)
  // Before gradients are taken, which takes a while.
  if (measures && ports.predictor === undefined) throw needsMeasurements(pass)

  const from = dependencyGroups(model)
  const groups = prunableGroups(from, pass)
  const judged = await judgedChannels(from.model, groups, pass, ports)
  const ranked = rankChannels(from.model, groups, judged.importance)
  const chosen =
    isSelection(target) && target.alignTo !== 'measured'
      ? { kept: keptCounts(ranked, target, target.alignTo), notes: [] }
      : await chosenByLatency(from, ranked, pass, ports)
  const { resolved, result } = withoutChannels(model, from, pass, removedIds(ranked, chosen.kept))
  return { resolved, result: { ...result, notes: [...chosen.notes, ...judged.notes, ...result.notes] } }
}

async function judgedChannels(
  model: Model,
  groups: readonly ChannelGroup[],
  pass: PruneChannelsPass,
  { gradients, sampling, onProgress }: PruningPorts,
): Promise<JudgedChannels> {
  if (pass.importance !== 'taylor' || gradients === undefined) {
    return { importance: importanceOfWeights(pass), notes: [] }
  }
  const { openSession, threads, signal } = sampling(1)
  return await taylorImportance(model, groups, gradients, {
    samples: pass.gradientSamples ?? GRADIENT_SAMPLES,
    openSession,
    threads,
    onProgress: (done, total) => onProgress({ stage: 'channels', done, total }),
    signal,
  })
}

/** By what the box computes in which time. */
async function chosenByLatency(
  from: DependencyGroups,
  ranked: readonly RankedGroup[],
  pass: PruneChannelsPass,
  { predictor, sampling, onProgress }: PruningPorts,
): Promise<Chosen> {
  const { target } = pass
  if (predictor === undefined) throw needsMeasurements(pass)
  const { source, signal, ...judging } = sampling(isSelection(target) ? 1 : target.samples)
  const predict = cutPredictor(from, predictor, await source.batch([0]), signal)
  if (isSelection(target))
    return { kept: await alignedCounts(ranked, keptCounts(ranked, target, 1), predict), notes: [] }

  const judge = await outputJudge(from.model, { ...judging, source, signal }, false)
  const { kept, wholeMs, latencyMs, loss } = await shrinkToLatency(
    ranked,
    { latencyMs: (whole) => latencyGoal(target, whole), steps: target.steps },
    {
      predict,
      lossOf: async (removed) => (await judge.noiseOf(removeChannels(from, removed))).noiseRatio,
      onProgress: (done, total) => onProgress({ stage: 'pruning', done, total }),
      signal,
    },
  )
  const untimed = predictor.untimedOperators?.() ?? []
  const notes = [
    `predicted to take ${latencyMs.toPrecision(3)} ms after and ${wholeMs.toPrecision(3)} ms before`,
    ...(untimed.length === 0 ? [] : [`of that, ${untimed.join(', ')} could not be timed and count as nothing`]),
    ...(loss === 0 ? [] : [`outputs keep a signal-to-noise ratio of ${(-10 * Math.log10(loss)).toFixed(1)} dB`]),
  ]
  return { kept, notes }
}

function latencyGoal(target: Exclude<Target, Selection>, wholeMs: number): number {
  switch (target.by) {
    case 'latency':
      return target.latencyMs
    case 'saved-time':
      return wholeMs - target.savedMs
    case 'saved-share':
      return wholeMs * (1 - target.savedShare)
  }
}
