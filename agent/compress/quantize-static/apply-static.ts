import { EdgefitError } from '@edgefit/shared'
import type { Model } from '@edgefit/shared/onnx'
import type { Interval } from '../affine.ts'
import type { CalibrationProgress } from '../calibration/collect.ts'
import type { Sampling } from '../calibration/run-samples.ts'
import type { PassResult } from '../pass-report.ts'
import { applyRounding } from '../rounding/apply-rounding.ts'
import { staticLayers } from '../rounding/static-layers.ts'
import { calibratedRanges } from '../sensitivity/calibrated-quantizer.ts'
import { layerNoise } from '../sensitivity/layer-noise.ts'
import { layerQuantizer, planStatic, type RangesOf, type StaticPass } from '../sensitivity/layer-quantizer.ts'
import { layersToLeave } from '../sensitivity/leave-in-float.ts'

type Samplings = (samples: number) => Sampling
type OnProgress = (progress: CalibrationProgress) => void

/** Quantizes with the ranges and roundings of the recipe, or finds them first and embeds them. `sampling` is only asked for then. */
export async function applyStatic(
  model: Model,
  pass: StaticPass,
  sampling: Samplings,
  onProgress: OnProgress,
): Promise<{ readonly resolved: StaticPass; readonly result: PassResult }> {
  const rounds = pass.rounding !== undefined && pass.roundings === undefined
  const { settled, ranges } = await settledRanges(
    model,
    pass,
    sampling,
    rounds ? within(onProgress, 0, HEAD) : onProgress,
  )
  const quantization = planStatic(model, settled)
  const rounded = await applyRounding(
    pass,
    staticLayers(quantization, { activations: pass.activations.type, weights: pass.weights }, ranges),
    sampling,
    within(onProgress, HEAD, 1),
  )
  const result = quantization.apply(ranges, rounded.roundings)
  return {
    resolved: { ...settled, ...rounded.resolved },
    result: { ...result, notes: [...result.notes, ...rounded.notes] },
  }
}

/** Share of calibration where weights are rounded adaptively after it. */
const HEAD = 0.1

function within(onProgress: OnProgress, from: number, to: number): OnProgress {
  return ({ done, total, ...progress }) => onProgress({ ...progress, done: from * total + (to - from) * done, total })
}

async function settledRanges(
  model: Model,
  pass: StaticPass,
  sampling: Samplings,
  onProgress: OnProgress,
): Promise<{ readonly settled: StaticPass; readonly ranges: ReadonlyMap<string, Interval> }> {
  const { leaveInFloat: rule, ...plain } = pass
  if (pass.ranges !== undefined) {
    if (rule !== undefined) throw contradiction()
    const ranges = Object.entries(pass.ranges).map(([tensor, [min, max]]): [string, Interval] => [tensor, { min, max }])
    return { settled: pass, ranges: new Map(ranges) }
  }
  const halves = rule === undefined ? 1 : 2
  const ranges = calibratedRanges(plain, {
    ...sampling(pass.calibration.samples),
    onProgress: ({ total, ...progress }) => onProgress({ ...progress, total: total * halves }),
  })
  const loud = rule === undefined ? [] : await loudLayers(model, plain, rule, { ranges, sampling, onProgress })
  const chosen: StaticPass = { ...plain, exclude: [...plain.exclude, ...loud] }
  const { prepared, observe } = planStatic(model, chosen)
  const found = await ranges(prepared, observe)
  const embedded = Object.fromEntries(
    [...found].map(([tensor, { min, max }]) => [tensor, [min, max] as [number, number]]),
  )
  return { settled: { ...chosen, ranges: embedded }, ranges: found }
}

const DEFAULT_SAMPLES = 32

async function loudLayers(
  model: Model,
  pass: StaticPass,
  rule: NonNullable<StaticPass['leaveInFloat']>,
  { ranges, sampling, onProgress }: { ranges: RangesOf; sampling: Samplings; onProgress: OnProgress },
): Promise<readonly string[]> {
  const samples = rule.samples ?? Math.min(DEFAULT_SAMPLES, pass.calibration.samples)
  const noise = await layerNoise({
    ...sampling(samples),
    quantizer: layerQuantizer(model, pass, ranges),
    classes: false,
    onProgress: (done, total) => onProgress({ stage: 'layers', done: total + done, total: 2 * total }),
  })
  return layersToLeave(noise, rule)
}

function contradiction(): EdgefitError {
  return new EdgefitError(
    'the recipe has both "ranges", which make it resolved, and "leaveInFloat", which is yet to be resolved: remove one',
    { code: 'RECIPE_INVALID' },
  )
}
