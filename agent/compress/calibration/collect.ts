import { EdgefitError } from '@edgefit/shared'
import { editGraph, encodeModel, type GraphEditor, type Model } from '@edgefit/shared/onnx'
import type { Interval } from '../affine.ts'
import type { FeedTensor, OpenSession, OutputTensor } from '../runtime-port.ts'
import { addExtremes, readExtremes, union } from './minmax.ts'
import { addToHistogram, emptyHistogram, type Histogram, percentileRange } from './percentile.ts'

/**
 * Samples to calibrate with. Called more than once for the same sample, and must then give the same values.
 *
 * `batch` is asked for one sample at a time, as what the model wants to be fed for it.
 */
export interface CalibrationSource {
  readonly count: number
  batch(
    indices: readonly number[],
  ): Readonly<Record<string, FeedTensor>> | Promise<Readonly<Record<string, FeedTensor>>>
}

/** `done / total` is the share of the whole calibration: it only grows. */
export interface CalibrationProgress {
  readonly stage: 'minmax' | 'histogram'
  readonly done: number
  readonly total: number
}

export interface CollectInput {
  readonly model: Model
  /** Names of FLOAT values of the main graph. */
  readonly tensors: readonly string[]
  readonly method: { readonly method: 'minmax' } | { readonly method: 'percentile'; readonly percentile: number }
  readonly samples: number
  readonly source: CalibrationSource
  readonly openSession: OpenSession
  readonly threads: number
  readonly onProgress?: (progress: CalibrationProgress) => void
  /** Histograms: bytes of activations to take out of the runtime per run. Default 16 MiB. */
  readonly groupBytes?: number
  readonly signal: AbortSignal
}

const GROUP_BYTES = 16 * 2 ** 20

/**
 * The range of values that each tensor takes over the first `samples` samples.
 *
 * Memory does not grow with the number of samples: the first pass takes only scalars out of the runtime; the histograms
 * of `percentile` are filled from one sample at a time, in groups of tensors that together hold `groupBytes` (or one
 * larger tensor), at the price of a model run per group and sample.
 *
 * @throws EdgefitError PASS_FAILED naming tensor and sample where an activation is NaN or infinite; what `openSession`
 * and `run` throw; the signal's reason.
 */
export async function collectRanges(input: CollectInput): Promise<ReadonlyMap<string, Interval>> {
  const extremes = await collectExtremes(input)
  if (input.method.method === 'minmax') return rangesOf(extremes)
  const { percentile } = input.method
  const groups = groupTensors(input.tensors, extremes, input.groupBytes ?? GROUP_BYTES)
  const ranges = new Map<string, Interval>()
  for (const [index, group] of groups.entries()) {
    const histograms = new Map(group.map((tensor) => [tensor, emptyHistogram(observed(extremes, tensor).range)]))
    // The first pass counts for as much as all of these, whose number it found out.
    const done = (groups.length + index) * input.samples
    await fillHistograms(input, histograms, { done, total: 2 * groups.length * input.samples })
    for (const [tensor, histogram] of histograms) ranges.set(tensor, percentileRange(histogram, percentile))
  }
  return ranges
}

interface Observed {
  readonly range: Interval
  /** Elements, in the sample where it had most. */
  readonly size: number
}

async function collectExtremes(input: CollectInput): Promise<ReadonlyMap<string, Observed>> {
  const found = new Map<string, Observed>()
  const { model, added } = observingModel(input.model, (editor) =>
    input.tensors.map((tensor) => addExtremes(editor, tensor)),
  )
  const passes = input.method.method === 'minmax' ? 1 : 2
  const names = added.flatMap(({ min, max, sumOfMagnitudes, size }) => [min, max, sumOfMagnitudes, size])
  await runSamples(input, withOutputs(model, names), (outputs, sample) => {
    for (const extremes of added) {
      const now = readExtremes(extremes, outputs)
      if (now === undefined) throw notFinite(extremes.tensor, sample)
      const before = found.get(extremes.tensor) ?? now
      found.set(extremes.tensor, {
        range: union(before.range, now.range),
        size: Math.max(before.size, now.size),
      })
    }
    input.onProgress?.({ stage: 'minmax', done: sample + 1, total: input.samples * passes })
  })
  return found
}

async function fillHistograms(
  input: CollectInput,
  histograms: ReadonlyMap<string, Histogram>,
  progress: { readonly done: number; readonly total: number },
): Promise<void> {
  await runSamples(input, withOutputs(input.model, [...histograms.keys()]), (outputs, sample) => {
    for (const [tensor, histogram] of histograms) {
      const data = outputs[tensor]?.data
      if (!(data instanceof Float32Array)) throw new TypeError(`"${tensor}" is not a float32 tensor`)
      addToHistogram(histogram, data)
    }
    input.onProgress?.({ stage: 'histogram', done: progress.done + sample + 1, total: progress.total })
  })
}

async function runSamples(
  { openSession, threads, samples, source, signal }: CollectInput,
  model: Model,
  see: (outputs: Readonly<Record<string, OutputTensor>>, sample: number) => void,
): Promise<void> {
  signal.throwIfAborted()
  // 'basic' folds constants but leaves every observed value what the model says; higher levels are for final graphs.
  const session = await openSession(encodeModel(model), { graphOptimization: 'basic', threads })
  try {
    for (let sample = 0; sample < samples; sample++) {
      signal.throwIfAborted()
      see(await session.run(await source.batch([sample])), sample)
    }
  } finally {
    await session.release()
  }
}

function observingModel<Added>(model: Model, add: (editor: GraphEditor) => Added): { model: Model; added: Added } {
  const editor = editGraph(model.graph)
  const added = add(editor)
  return { model: { ...model, graph: editor.build() }, added }
}

/** `model` with exactly these outputs and no node that they do not need. */
function withOutputs(model: Model, names: readonly string[]): Model {
  const outputs = names.map((name) => ({ name }))
  const editor = editGraph({ ...model.graph, outputs })
  editor.prune()
  return { ...model, graph: editor.build() }
}

function groupTensors(
  tensors: readonly string[],
  extremes: ReadonlyMap<string, Observed>,
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

function rangesOf(extremes: ReadonlyMap<string, Observed>): ReadonlyMap<string, Interval> {
  return new Map([...extremes].map(([tensor, { range }]) => [tensor, range]))
}

function observed(extremes: ReadonlyMap<string, Observed>, tensor: string): Observed {
  const found = extremes.get(tensor)
  if (found === undefined) throw new RangeError(`"${tensor}" was not observed`)
  return found
}

function notFinite(tensor: string, sample: number): EdgefitError {
  return new EdgefitError(
    `calibration sample ${sample} gives values that are not finite at "${tensor}"; check the sample, and the model on it`,
    { code: 'PASS_FAILED', details: { tensor, sample } },
  )
}
