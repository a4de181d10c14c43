import type { Model } from '@edgefit/shared/onnx'
import { FULL_RANGE, type Interval } from '../affine.ts'
import { collectExtremes, type Extent } from './collect-extremes.ts'
import { entropyRange } from './entropy.ts'
import { addToHistogram, emptyHistogram, type Histogram } from './histogram.ts'
import { movingAverage } from './minmax.ts'
import { mseRange } from './mse.ts'
import { percentileRange } from './percentile.ts'
import { runInBatches, type Sampling, withSession } from './run-samples.ts'

/** `done / total` is the share of the whole calibration: it only grows. */
export interface CalibrationProgress {
  readonly stage: 'minmax' | 'histogram' | 'channels' | 'pruning' | 'layers' | 'rounding'
  readonly done: number
  readonly total: number
}

/** How the ranges follow from what is observed; `integers` are those that the activations will be quantized to. */
type CalibrationMethod =
  | { readonly method: 'minmax' }
  /** Every sample moves the ends by `constant` of the way to its own. */
  | { readonly method: 'moving-average'; readonly constant: number }
  | { readonly method: 'percentile'; readonly percentile: number }
  | { readonly method: 'entropy' }
  | { readonly method: 'mse' }

export interface CollectInput extends Sampling {
  readonly model: Model
  /** Names of FLOAT values of the main graph. */
  readonly tensors: readonly string[]
  readonly method: CalibrationMethod
  /** What `entropy` and `mse` weigh ranges for. Default: 8 bits. */
  readonly integers?: Interval
  readonly onProgress?: (progress: CalibrationProgress) => void
  /** Bytes of the tensors that one run may hold: of several samples, or of one sample a part of the tensors. Default 16 MiB. */
  readonly groupBytes?: number
}

const GROUP_BYTES = 16 * 2 ** 20

/**
 * The range of values that each tensor takes over the first `samples` samples.
 *
 * Memory does not grow with the number of samples: the first pass takes only a few numbers out of the runtime; the
 * histograms of the methods that need them are filled in runs that hold `groupBytes` of the tensors: of several samples
 * where they may run at once, otherwise of one sample, in groups of tensors (or one larger tensor), at the price of a model
 * run per group and sample.
 *
 * @throws EdgefitError PASS_FAILED naming tensor and sample where an activation is NaN or infinite; what `openSession`
 * and `run` throw; the signal's reason.
 */
export async function collectRanges(input: CollectInput): Promise<ReadonlyMap<string, Interval>> {
  const { method, samples, groupBytes = GROUP_BYTES } = input
  const passes = needsHistograms(method) ? 2 : 1
  const { extremes, batch } = await collectExtremes({
    ...input,
    ...(method.method === 'moving-average' && { inOrder: movingAverage(method.constant) }),
    batchBytes: groupBytes,
    onSamples: (done) => input.onProgress?.({ stage: 'minmax', done, total: samples * passes }),
  })
  if (passes === 1) return rangesOf(extremes)
  const groups = groupTensors(input.tensors, extremes, groupBytes / batch)
  const ranges = new Map<string, Interval>()
  for (const [index, group] of groups.entries()) {
    const histograms = new Map(group.map((tensor) => [tensor, emptyHistogram(observed(extremes, tensor).range)]))
    // The first pass counts for as much as all of these, whose number it found out.
    const done = (groups.length + index) * samples
    await fillHistograms(input, histograms, batch, { done, total: 2 * groups.length * samples })
    for (const [tensor, histogram] of histograms) ranges.set(tensor, rangeOf(histogram, input))
  }
  return ranges
}

function needsHistograms({ method }: CalibrationMethod): boolean {
  return method !== 'minmax' && method !== 'moving-average'
}

function rangeOf(histogram: Histogram, { method, integers = FULL_RANGE.uint8 }: CollectInput): Interval {
  switch (method.method) {
    case 'percentile':
      return percentileRange(histogram, method.percentile)
    case 'entropy':
      return entropyRange(histogram, integers.max - integers.min + 1)
    case 'mse':
      return mseRange(histogram, integers)
    case 'minmax':
    case 'moving-average':
      return histogram.range
  }
}

async function fillHistograms(
  input: CollectInput,
  histograms: ReadonlyMap<string, Histogram>,
  batch: number,
  progress: { readonly done: number; readonly total: number },
): Promise<void> {
  await withSession(input, input.model, [...histograms.keys()], (run) =>
    runInBatches(run, { from: 0, to: input.samples, batch }, (outputs, first, count) => {
      for (const [tensor, histogram] of histograms) {
        const data = outputs[tensor]?.data
        if (!(data instanceof Float32Array)) throw new TypeError(`"${tensor}" is not a float32 tensor`)
        addToHistogram(histogram, data)
      }
      input.onProgress?.({ stage: 'histogram', done: progress.done + first + count, total: progress.total })
    }),
  )
}

function groupTensors(
  tensors: readonly string[],
  extremes: ReadonlyMap<string, Extent>,
  groupBytes: number,
): readonly (readonly string[])[] {
  const groups: string[][] = []
  let room = 0
  for (const tensor of tensors) {
    const sizeBytes = observed(extremes, tensor).size * Float32Array.BYTES_PER_ELEMENT
    const group = groups.at(-1)
    if (group === undefined || sizeBytes > room) {
      groups.push([tensor])
      room = groupBytes - sizeBytes
    } else {
      group.push(tensor)
      room -= sizeBytes
    }
  }
  return groups
}

function rangesOf(extremes: ReadonlyMap<string, Extent>): ReadonlyMap<string, Interval> {
  return new Map([...extremes].map(([tensor, { range }]) => [tensor, range]))
}

function observed(extremes: ReadonlyMap<string, Extent>, tensor: string): Extent {
  const found = extremes.get(tensor)
  if (found === undefined) throw new RangeError(`"${tensor}" was not observed`)
  return found
}
