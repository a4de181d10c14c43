import { EdgefitError } from '@edgefit/shared'
import { editGraph, encodeModel, type Model } from '@edgefit/shared/onnx'
import type { FeedTensor, OpenSession, OutputTensor } from '../runtime-port.ts'

/**
 * Samples to calibrate with. Called more than once for the same sample, and must then give the same values.
 *
 * `batch` is asked for one sample, as what the model wants to be fed for it, or, where the source is `batchable`, for
 * several that follow one another: every input then has a row for each along its first axis.
 */
export interface CalibrationSource {
  readonly count: number
  /** Default: false. */
  readonly batchable?: boolean
  batch(
    indices: readonly number[],
  ): Readonly<Record<string, FeedTensor>> | Promise<Readonly<Record<string, FeedTensor>>>
}

/** The first `samples` samples of `source`, and what to run them on. */
export interface Sampling {
  readonly samples: number
  readonly source: CalibrationSource
  readonly openSession: OpenSession
  readonly threads: number
  readonly signal: AbortSignal
}

export type SampleOutputs = Readonly<Record<string, OutputTensor>>

/** Runs `count` samples from `first` on at once. */
export type RunSamples = (first: number, count: number) => Promise<SampleOutputs>

/**
 * Runs `model`, reduced to `outputs` and what they need, on one sample after the other, as it will be served: with all
 * the optimizations of the runtime, which leave what is observed as it is, up to rounding.
 *
 * @throws EdgefitError what `openSession` and `run` throw; the signal's reason.
 */
export async function runSamples(
  sampling: Sampling,
  model: Model,
  outputs: readonly string[],
  see: (outputs: SampleOutputs, sample: number) => void,
): Promise<void> {
  await withSession(sampling, model, outputs, (run) =>
    runInBatches(run, { from: 0, to: sampling.samples, batch: 1 }, see),
  )
}

/** A session of `model`, as {@link runSamples} opens it, for as long as `use` takes. */
export async function withSession<Value>(
  { openSession, threads, source, signal }: Sampling,
  model: Model,
  outputs: readonly string[],
  use: (run: RunSamples) => Promise<Value>,
): Promise<Value> {
  signal.throwIfAborted()
  const bytes = encodeModel(withOutputs(model, outputs))
  const session = await openSession(bytes, { graphOptimization: 'all', threads })
  try {
    return await use(async (first, count) => {
      signal.throwIfAborted()
      return await session.run(await source.batch(Array.from({ length: count }, (_, at) => first + at)))
    })
  } finally {
    await session.release()
  }
}

/** Runs samples `from` up to, not including, `to`, `batch` at a time, and one by one once the runtime refuses so many. */
export async function runInBatches(
  run: RunSamples,
  { from, to, batch }: { readonly from: number; readonly to: number; readonly batch: number },
  see: (outputs: SampleOutputs, first: number, count: number) => Promise<void> | void,
): Promise<void> {
  let size = batch
  for (let first = from; first < to; ) {
    const count = Math.min(size, to - first)
    const outputs = count === 1 ? await run(first, 1) : await unlessRefused(run(first, count))
    if (outputs === undefined) {
      size = 1
      continue
    }
    await see(outputs, first, count)
    first += count
  }
}

/** Nothing where the runtime has no such run: a batch axis that is open at the inputs may be fixed within. */
export async function unlessRefused(running: Promise<SampleOutputs>): Promise<SampleOutputs | undefined> {
  try {
    return await running
  } catch (error) {
    if (error instanceof EdgefitError && error.code === 'MODEL_UNSUPPORTED') return undefined
    throw error
  }
}

/** `model` with exactly these outputs and no node that they do not need. */
function withOutputs(model: Model, names: readonly string[]): Model {
  const outputs = names.map((name) => ({ name }))
  const editor = editGraph({ ...model.graph, outputs })
  editor.prune()
  return { ...model, graph: editor.build() }
}
