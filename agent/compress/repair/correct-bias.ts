import { editGraph, type Model } from '@edgefit/shared/onnx'
import type { Sampling } from '../calibration/run-samples.ts'
import type { PassResult } from '../pass-report.ts'
import { type ChannelNumbers, numbersFor, refuseForeignNumbers } from './channel-numbers.ts'
import { type ChannelRequest, collectChannels } from './collect-channels.ts'
import { findQuantizedLayers, type QuantizedLayer, shiftBias } from './quantized-layers.ts'

export interface BiasCorrection {
  /** What to add to each layer's outputs, by the value's name in the float model. Rejected layers have none. */
  readonly shifts: ReadonlyMap<string, Float64Array>
  readonly notes: readonly string[]
}

export interface BiasInput {
  readonly quantized: Model
  /** The model that was quantized, in the form in which it was. */
  readonly float: Model
  readonly sampling: Sampling
  readonly onProgress?: (done: number, total: number) => void
}

/**
 * Empirical bias correction: the mean that each quantized layer's outputs lack per channel, against the float model on
 * the same samples. Layer by layer from the inputs on, each with those before it already corrected, so that only what
 * the layer itself and the nonlinearities before it add is measured.
 *
 * A layer whose shift exceeds the root mean square of its largest channel, or is not finite, is rejected: rounding does
 * not do that, and the note says so. One model run per layer and sample, up to that layer; only means are kept.
 *
 * Formulas: Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction (arXiv 1906.04721),
 * appendix D.
 *
 * @throws EdgefitError as {@link collectChannels}.
 */
export async function findBiasShifts({ quantized, float, sampling, onProgress }: BiasInput): Promise<BiasCorrection> {
  const { layers, notes } = findQuantizedLayers(quantized, float)
  const shifts = new Map<string, Float64Array>()
  const rejected: string[] = []
  const total = (layers.length + 1) * sampling.samples
  const expected = await expectations(float, layers, sampling, (done) => onProgress?.(done, total))
  let corrected = quantized
  for (const [index, layer] of layers.entries()) {
    const { mean, scale } = expected[index] ?? { mean: new Float64Array(), scale: 0 }
    const done = (index + 1) * sampling.samples
    const request: ChannelRequest = { ...layer, value: layer.output, statistic: 'mean' }
    const [seen] = await collectChannels(corrected, [request], sampling, (more) => onProgress?.(done + more, total))
    const shift = mean.map((value, channel) => value - (seen?.[channel] ?? 0))
    if (isPlausible(shift, scale)) {
      shifts.set(layer.floatValue, shift)
      corrected = shifted(corrected, [{ layer, shift }])
    } else {
      rejected.push(layer.floatValue)
    }
  }
  return { shifts, notes: [...notes, ...rejectionNotes(rejected)] }
}

/**
 * Adds `shifts` to the biases of `quantized`; layers without one get one.
 *
 * Requires the model as quantized, before anything else changed it; ensures the same nodes but for new biases.
 *
 * @throws EdgefitError RECIPE_INVALID when `shifts` are not those of this model.
 */
export function correctBias(quantized: Model, float: Model, shifts: ChannelNumbers): PassResult {
  const { layers } = findQuantizedLayers(quantized, float)
  refuseForeignNumbers(
    shifts,
    layers.map(({ floatValue }) => floatValue),
    'shifts',
  )
  const chosen = layers.filter(({ floatValue }) => shifts.has(floatValue))
  if (chosen.length === 0) return { model: quantized, notes: ['no quantized layer to correct'] }
  const model = shifted(
    quantized,
    chosen.map((layer) => ({ layer, shift: numbersFor(shifts, layer.floatValue, layer.channels, 'shifts') })),
  )
  return { model, notes: [`biases of ${chosen.length} layers corrected`] }
}

function shifted(
  model: Model,
  changes: readonly { readonly layer: QuantizedLayer; readonly shift: Float64Array }[],
): Model {
  const editor = editGraph(model.graph)
  for (const { layer, shift } of changes) shiftBias(editor, layer, shift)
  editor.prune()
  return { ...model, graph: editor.build() }
}

async function expectations(
  float: Model,
  layers: readonly QuantizedLayer[],
  sampling: Sampling,
  onSample: (done: number) => void,
): Promise<readonly { readonly mean: Float64Array; readonly scale: number }[]> {
  if (layers.length === 0) return []
  const requests = layers.flatMap((layer): readonly ChannelRequest[] => {
    const request = { ...layer, value: layer.floatValue }
    return [
      { ...request, statistic: 'mean' },
      { ...request, statistic: 'meanSquare' },
    ]
  })
  const found = await collectChannels(float, requests, sampling, onSample)
  return layers.map((_, index) => ({
    mean: found[2 * index] ?? new Float64Array(),
    scale: Math.sqrt(Math.max(0, ...(found[2 * index + 1] ?? []))),
  }))
}

/** `scale`: root mean square of the layer's largest channel. */
export function isPlausible(shift: Float64Array, scale: number): boolean {
  return shift.every((value) => Math.abs(value) <= scale)
}

function rejectionNotes(rejected: readonly string[]): readonly string[] {
  if (rejected.length === 0) return []
  const names = rejected.map((name) => `"${name}"`).join(', ')
  return [`biases left alone, their shift is larger than the outputs themselves: ${names}`]
}
