import { encodeModel, type Model } from '@edgefit/shared/onnx'
import type { Sampling } from '../calibration/run-samples.ts'
import type { LayerQuantizer } from './layer-quantizer.ts'
import { type FloatOutputs, floatOutputs, noiseMeter, type OutputNoise, outputBytes } from './output-noise.ts'

/** What quantizing one layer alone does to the outputs of the model. */
export interface LayerNoise extends OutputNoise {
  /** Label of the node. */
  readonly layer: string
  readonly opType: string
}

export interface LayerNoiseInput extends Sampling {
  readonly quantizer: LayerQuantizer
  /** Whether the first output holds class scores, so that a divergence of probabilities makes sense. */
  readonly classes: boolean
  readonly onProgress?: (done: number, total: number) => void
}

/**
 * Quantizes one layer at a time, all others in float, and compares the outputs with those of the float model. The noise
 * of independent layers adds up, so this is also, nearly, what leaving that layer in float wins back.
 *
 * Needs far fewer samples than an accuracy does: every output counts, not only the decisions that flip. Memory: one model
 * at a time, and the float model's outputs of the samples, at most 16 MiB; where they are larger, fewer samples are taken.
 *
 * @throws EdgefitError what the passes and `openSession` throw; the signal's reason.
 */
export async function layerNoise(input: LayerNoiseInput): Promise<readonly LayerNoise[]> {
  const { quantizer, classes, onProgress, signal } = input
  const { layers } = quantizer
  const references: FloatOutputs[] = []
  await forEachSample(input, quantizer.float, input.samples, (outputs) => {
    references.push(outputs)
    return (references.length + 1) * outputBytes(outputs) <= REFERENCE_BYTES
  })
  const found: LayerNoise[] = []
  for (const [index, { layer, opType }] of layers.entries()) {
    signal.throwIfAborted()
    const others = layers.flatMap(({ layer: other }) => (other === layer ? [] : [other]))
    const meter = noiseMeter(classes)
    const model = await quantizer.leavingInFloat(others)
    await forEachSample(input, model, references.length, (outputs, sample) => {
      meter.add(references[sample] ?? new Map(), outputs)
      return true
    })
    found.push({ layer, opType, ...meter.noise() })
    onProgress?.(index + 1, layers.length)
  }
  return found
}

const REFERENCE_BYTES = 16 << 20

/** Runs `model` as an application does, until `see` wants no more. */
export async function forEachSample(
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
