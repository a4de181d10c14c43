import { EdgefitError } from '@edgefit/shared'
import { editGraph, type Model } from '@edgefit/shared/onnx'
import type { Interval } from '../affine.ts'
import { addExtremes, type Extremes, type Observed, readExtremes, union } from './minmax.ts'
import {
  type RunSamples,
  runInBatches,
  type SampleOutputs,
  type Sampling,
  unlessRefused,
  withSession,
} from './run-samples.ts'
import { agree, scalesByBatch } from './together.ts'

interface ExtremesInput extends Sampling {
  readonly model: Model
  readonly tensors: readonly string[]
  /** How the range of some samples and that of later ones make one. Absent: as the smallest that holds both. */
  readonly inOrder?: (before: Interval, now: Interval) => Interval
  /** Samples are run at once as long as their tensors together hold no more than so many bytes. */
  readonly batchBytes: number
  readonly onSamples: (done: number) => void
}

/** What is known of a tensor after all samples. */
export type Extent = Pick<Observed, 'range' | 'size'>

interface CollectedExtremes {
  /** `size` is that of the sample where the tensor had most elements. */
  readonly extremes: ReadonlyMap<string, Extent>
  /** How many samples may be run at once. */
  readonly batch: number
}

type SampleExtremes = ReadonlyMap<string, Observed | undefined>

/** Run one by one, and then at once to see whether that makes a difference. */
const PROBE_SAMPLES = 4
const LARGEST_BATCH = 32

/**
 * Range and size of each tensor over all samples.
 *
 * The first samples run one by one. The others run at once where the first of them, run so, gave the same numbers: then
 * the graph does not mix samples, or not so that a range could tell. How many depends on the sizes of the tensors alone,
 * so that a calibration that is repeated finds the same bits.
 *
 * @throws EdgefitError PASS_FAILED naming tensor and sample where an activation is NaN or infinite; what the runtime
 * throws; the signal's reason.
 */
export async function collectExtremes(input: ExtremesInput): Promise<CollectedExtremes> {
  const editor = editGraph(input.model.graph)
  const added = addExtremes(editor, input.tensors)
  const model = { ...input.model, graph: editor.build() }
  const found = new Map<string, Extent>()
  const combine = input.inOrder ?? union

  return await withSession(input, model, [added.floats, added.sizes], async (run) => {
    const see = async (outputs: SampleOutputs, first: number, count: number): Promise<void> => {
      for (const [tensor, now] of readExtremes(added, outputs)) {
        if (now === undefined) throw notFinite(tensor, await firstNotFinite(run, added, first, count))
        const before = found.get(tensor) ?? now
        const size = Math.max(before.size, Math.ceil(now.size / count))
        found.set(tensor, { range: combine(before.range, now.range), size })
      }
      input.onSamples(first + count)
    }
    const alone: SampleExtremes[] = []
    const probed = Math.min(PROBE_SAMPLES, input.samples)
    await runInBatches(run, { from: 0, to: probed, batch: 1 }, async (outputs, first, count) => {
      await see(outputs, first, count)
      alone.push(readExtremes(added, outputs))
    })
    const batch = mayBatch(input) ? await batchSize(run, added, alone, input.batchBytes) : 1
    await runInBatches(run, { from: probed, to: input.samples, batch }, see)
    return { extremes: found, batch }
  })
}

function mayBatch({ source, inOrder, model, samples }: ExtremesInput): boolean {
  return source.batchable === true && inOrder === undefined && samples > PROBE_SAMPLES && !scalesByBatch(model)
}

async function batchSize(
  run: RunSamples,
  added: Extremes,
  alone: readonly SampleExtremes[],
  batchBytes: number,
): Promise<number> {
  const sampleBytes = Math.max(...alone.map(bytesOf))
  const batch = Math.min(LARGEST_BATCH, Math.floor(batchBytes / sampleBytes))
  const probed = alone.slice(0, batch)
  if (batch < 2 || !tellsMixing(probed)) return 1
  const outputs = await unlessRefused(run(0, probed.length))
  return outputs !== undefined && isSumOf(readExtremes(added, outputs), probed) ? batch : 1
}

function bytesOf(extremes: SampleExtremes): number {
  const elements = [...extremes.values()].reduce((sum, one) => sum + (one?.size ?? 0), 0)
  return Float32Array.BYTES_PER_ELEMENT * Math.max(1, elements)
}

/** Samples that are all the same would stay so when mixed. */
function tellsMixing([first, ...others]: readonly SampleExtremes[]): boolean {
  return others.some((other) =>
    [...other].some(([tensor, { magnitude } = NOTHING]) => magnitude !== first?.get(tensor)?.magnitude),
  )
}

const NOTHING: Observed = { range: { min: 0, max: 0 }, size: 0, magnitude: 0 }

/** Whether the values that samples took together can be those that each of them took alone. */
function isSumOf(together: SampleExtremes, alone: readonly SampleExtremes[]): boolean {
  return [...together].every(([tensor, now]) => {
    const each = alone.map((one) => one.get(tensor) ?? NOTHING)
    const sum = (of: (observed: Observed) => number): number => each.reduce((total, one) => total + of(one), 0)
    const { min, max } = each.map(({ range }) => range).reduce(union)
    return (
      now !== undefined &&
      now.size === sum(({ size }) => size) &&
      agree([min, max], [now.range.min, now.range.max]) &&
      agree([sum(({ magnitude }) => magnitude)], [now.magnitude])
    )
  })
}

/** Of samples that together gave something not finite, the first that does alone; the first of all where none does. */
async function firstNotFinite(run: RunSamples, added: Extremes, first: number, count: number): Promise<number> {
  for (let sample = first; count > 1 && sample < first + count; sample++) {
    if ([...readExtremes(added, await run(sample, 1)).values()].includes(undefined)) return sample
  }
  return first
}

function notFinite(tensor: string, sample: number): EdgefitError {
  return new EdgefitError(
    `calibration sample ${sample} gives values that are not finite at "${tensor}"; check the sample, and the model on it`,
    { code: 'PASS_FAILED', details: { tensor, sample } },
  )
}
