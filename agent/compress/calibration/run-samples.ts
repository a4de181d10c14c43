import { editGraph, encodeModel, type Model } from '@edgefit/shared/onnx'
import type { FeedTensor, OpenSession, OutputTensor } from '../runtime-port.ts'

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

/** The first `samples` samples of `source`, and what to run them on. */
export interface Sampling {
  readonly samples: number
  readonly source: CalibrationSource
  readonly openSession: OpenSession
  readonly threads: number
  readonly signal: AbortSignal
}

/**
 * Runs `model`, reduced to `outputs` and what they need, on one sample after the other, as it will be served: with all
 * the optimizations of the runtime, which leave what is observed as it is, up to rounding.
 *
 * @throws EdgefitError what `openSession` and `run` throw; the signal's reason.
 */
export async function runSamples(
  { openSession, threads, samples, source, signal }: Sampling,
  model: Model,
  outputs: readonly string[],
  see: (outputs: Readonly<Record<string, OutputTensor>>, sample: number) => void,
): Promise<void> {
  signal.throwIfAborted()
  const bytes = encodeModel(withOutputs(model, outputs))
  const session = await openSession(bytes, { graphOptimization: 'all', threads })
  try {
    for (let sample = 0; sample < samples; sample++) {
      signal.throwIfAborted()
      see(await session.run(await source.batch([sample])), sample)
    }
  } finally {
    await session.release()
  }
}

/** `model` with exactly these outputs and no node that they do not need. */
function withOutputs(model: Model, names: readonly string[]): Model {
  const outputs = names.map((name) => ({ name }))
  const editor = editGraph({ ...model.graph, outputs })
  editor.prune()
  return { ...model, graph: editor.build() }
}
