import type { Pass } from '@edgefit/shared/model'
import type { Model } from '@edgefit/shared/onnx'
import type { Sampling } from '../calibration/run-samples.ts'
import type { PassResult } from '../pass-report.ts'
import { prepareForQuantization } from '../prepare-for-quantization.ts'
import { collectChannels } from './collect-channels.ts'
import { correctBias, findBiasShifts } from './correct-bias.ts'
import { smoothQuant } from './smooth-quant.ts'

interface Applied<Kind extends Pass['pass']> {
  readonly resolved: Extract<Pass, { pass: Kind }>
  readonly result: PassResult
}

type OnProgress = (done: number, total: number) => void

/** Smooths with the maxima of the recipe, or finds them first and embeds them. `sampling` is only asked for then. */
export async function applySmoothQuant(
  model: Model,
  pass: Extract<Pass, { pass: 'smooth-quant' }>,
  sampling: () => Sampling,
  onProgress: OnProgress,
): Promise<Applied<'smooth-quant'>> {
  const smoothing = smoothQuant(model, pass.alpha)
  if (pass.maxima !== undefined) {
    return { resolved: pass, result: smoothing.apply(new Map(Object.entries(pass.maxima))) }
  }
  const { observe, prepared } = smoothing
  const found =
    observe.length === 0
      ? []
      : await collectChannels(prepared, observe, sampling(), (done) => onProgress(done, pass.samples))
  const maxima = new Map(observe.map(({ value }, index) => [value, found[index] ?? new Float64Array()]))
  return { resolved: { ...pass, maxima: embedded(maxima) }, result: smoothing.apply(maxima) }
}

/**
 * Corrects with the shifts of the recipe, or finds them first and embeds them. `unquantized`: the model before
 * `quantize-static`; the model itself when there was none, and then there is nothing to correct.
 */
export async function applyCorrectBias(
  model: Model,
  unquantized: Model,
  pass: Extract<Pass, { pass: 'correct-bias' }>,
  sampling: () => Sampling,
  onProgress: OnProgress,
): Promise<Applied<'correct-bias'>> {
  const float = prepareForQuantization(unquantized)
  if (pass.shifts !== undefined) {
    return { resolved: pass, result: correctBias(model, float, new Map(Object.entries(pass.shifts))) }
  }
  const found = await findBiasShifts({ quantized: model, float, sampling: sampling(), onProgress })
  const result = correctBias(model, float, found.shifts)
  return {
    resolved: { ...pass, shifts: embedded(found.shifts) },
    result: { ...result, notes: [...result.notes, ...found.notes] },
  }
}

function embedded(numbers: ReadonlyMap<string, Float64Array>): Record<string, number[]> {
  return Object.fromEntries([...numbers].map(([value, channels]) => [value, [...channels]]))
}
