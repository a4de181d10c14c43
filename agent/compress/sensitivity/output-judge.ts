import { encodeModel, type Model } from '@edgefit/shared/onnx'
import type { Sampling } from '../calibration/run-samples.ts'
import { type FloatOutputs, floatOutputs, noiseMeter, type OutputNoise, outputBytes } from './output-noise.ts'

/** Judges models by how far their outputs are from those of the original: no labels are needed. */
export interface OutputJudge {
  /** @throws what `openSession` and `run` throw; the signal's reason. */
  noiseOf(model: Model): Promise<OutputNoise>
}

/** What is kept of the original's outputs; where they are larger, fewer samples judge. */
const REFERENCE_BYTES = 16 << 20

/**
 * Runs `original` once on all samples and keeps what it says of them.
 *
 * @param classes whether the first output holds class scores, so that a divergence of probabilities makes sense
 */
export async function outputJudge(original: Model, sampling: Sampling, classes: boolean): Promise<OutputJudge> {
  const references: FloatOutputs[] = []
  await forEachSample(sampling, original, sampling.samples, (outputs) => {
    references.push(outputs)
    return (references.length + 1) * outputBytes(outputs) <= REFERENCE_BYTES
  })
  return {
    async noiseOf(model) {
      const meter = noiseMeter(classes)
      await forEachSample(sampling, model, references.length, (outputs, sample) => {
        meter.add(references[sample] ?? new Map(), outputs)
        return true
      })
      return meter.noise()
    },
  }
}

/** Runs `model` as an application does, until `see` wants no more. */
async function forEachSample(
  { source, openSession, threads, signal }: Sampling,
  model: Model,
  count: number,
  see: (outputs: FloatOutputs, sample: number) => boolean,
): Promise<void> {
  const session = await openSession(encodeModel(model), { graphOptimization: 'all', threads })
  try {
    for (let sample = 0; sample < count; sample += 1) {
      signal.throwIfAborted()
      if (!see(floatOutputs(await session.run(await source.batch([sample]))), sample)) return
    }
  } finally {
    await session.release()
  }
}
