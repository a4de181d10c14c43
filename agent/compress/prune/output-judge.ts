import type { Model } from '@edgefit/shared/onnx'
import type { Sampling } from '../calibration/run-samples.ts'
import { forEachSample } from '../sensitivity/layer-noise.ts'
import { type FloatOutputs, noiseMeter, outputBytes } from '../sensitivity/output-noise.ts'

/** Judges models by how far their outputs are from those of the original: no labels are needed. */
export interface OutputJudge {
  /**
   * Noise power over signal power of the output that fares worst: 0 where nothing differs.
   *
   * @throws what `openSession` and `run` throw; the signal's reason.
   */
  noiseOf(model: Model): Promise<number>
}

/** What is kept of the original's outputs; where they are larger, fewer samples judge. */
const REFERENCE_BYTES = 16 << 20

/** Runs `original` once on all samples and keeps what it says of them. */
export async function outputJudge(original: Model, sampling: Sampling): Promise<OutputJudge> {
  const references: FloatOutputs[] = []
  await forEachSample(sampling, original, sampling.samples, (outputs) => {
    references.push(outputs)
    return (references.length + 1) * outputBytes(outputs) <= REFERENCE_BYTES
  })
  return {
    async noiseOf(model) {
      const meter = noiseMeter(false)
      await forEachSample(sampling, model, references.length, (outputs, sample) => {
        meter.add(references[sample] ?? new Map(), outputs)
        return true
      })
      return meter.noise().noiseRatio
    },
  }
}
