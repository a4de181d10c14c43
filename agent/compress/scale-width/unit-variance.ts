import { asFloat32, floatTensor, type Model } from '@edgefit/shared/onnx'
import type { Sampling } from '../calibration/run-samples.ts'
import { collectChannels } from '../repair/collect-channels.ts'
import { trainableWeights } from '../train/trainable.ts'

/** Factors by weight. */
export type WeightScales = Readonly<Record<string, number>>

/** What `value` is made of with `weight`, without a bias that is not zero. */
interface Layer {
  readonly weight: string
  readonly value: string
}

/**
 * What the weights of every layer have to be multiplied by for its outputs to have unit variance over the samples, one
 * layer after the other in the order in which they run (Mishkin and Matas, arXiv 1511.06422). Batch normalization, which
 * does the same for networks that train from scratch, is taken as it is in inference here. Layers whose outputs do not vary
 * are left out.
 *
 * `model` has biases of zero, so that outputs grow as the weights do.
 *
 * @throws EdgefitError what `collectChannels` throws; the signal's reason.
 */
export async function unitVarianceScales(
  model: Model,
  sampling: Sampling,
  onProgress: (done: number, total: number) => void,
): Promise<WeightScales> {
  const layers = layersOf(model)
  const scales: Record<string, number> = {}
  let scaled = model
  for (const [at, { weight, value }] of layers.entries()) {
    const whole = { value, channels: 1, channelAxis: 1 } as const
    const [mean, meanSquare] = await collectChannels(
      scaled,
      [
        { ...whole, statistic: 'mean' },
        { ...whole, statistic: 'meanSquare' },
      ],
      sampling,
    )
    const variance = (meanSquare?.[0] ?? 0) - (mean?.[0] ?? 0) ** 2
    if (variance > SMALLEST_VARIANCE) {
      // Through float32, which is what is multiplied by here and what a recipe hands on.
      scales[weight] = Math.fround(1 / Math.sqrt(variance))
      scaled = withScales(scaled, { [weight]: scales[weight] })
    }
    onProgress(at + 1, layers.length)
  }
  return scales
}

/** Below it, one over its root tells more of rounding than of the layer. */
const SMALLEST_VARIANCE = 1e-12

export function withScales(model: Model, scales: WeightScales): Model {
  const initializers = new Map(model.graph.initializers)
  for (const [name, scale] of Object.entries(scales)) {
    const tensor = initializers.get(name)
    if (tensor === undefined) continue
    initializers.set(
      name,
      floatTensor(
        name,
        tensor.dims,
        asFloat32(tensor).map((value) => value * scale),
      ),
    )
  }
  return { ...model, graph: { ...model.graph, initializers } }
}

/** Weights that several layers read go by the first of them; tables that are looked up in are as drawn. */
function layersOf(model: Model): readonly Layer[] {
  const heavy = new Set(trainableWeights(model, { kind: 'all' }).flatMap(({ name, decays }) => (decays ? [name] : [])))
  return model.graph.nodes.flatMap(({ domain, opType, inputs, outputs: [value = ''] }) => {
    if (domain !== '' || !LAYERS.has(opType)) return []
    const weight = inputs.find((input) => heavy.delete(input))
    return weight === undefined ? [] : [{ weight, value }]
  })
}

const LAYERS: ReadonlySet<string> = new Set(['Conv', 'ConvTranspose', 'Gemm', 'MatMul'])
