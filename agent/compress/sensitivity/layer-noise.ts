import type { Sampling } from '../calibration/run-samples.ts'
import type { LayerQuantizer } from './layer-quantizer.ts'
import { outputJudge } from './output-judge.ts'
import type { OutputNoise } from './output-noise.ts'

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
  const judge = await outputJudge(quantizer.float, input, classes)
  const found: LayerNoise[] = []
  for (const [index, { layer, opType }] of layers.entries()) {
    signal.throwIfAborted()
    const others = layers.flatMap(({ layer: other }) => (other === layer ? [] : [other]))
    const noise = await judge.noiseOf(await quantizer.leavingInFloat(others))
    found.push({ layer, opType, ...noise })
    onProgress?.(index + 1, layers.length)
  }
  return found
}
