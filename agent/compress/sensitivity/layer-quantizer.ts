import type { Pass } from '@edgefit/shared/model'
import { indexGraph, type Model } from '@edgefit/shared/onnx'
import type { Interval } from '../affine.ts'
import { nodeLabel } from '../node-label.ts'
import { roleOf } from '../operator-roles.ts'
import { prepareForQuantization } from '../prepare-for-quantization.ts'
import { quantizeDynamic } from '../quantize-dynamic.ts'
import { quantizeStatic } from '../quantize-static/quantize-static.ts'
import { quantizeWeightsOnly } from '../weight-only/weight-only.ts'

/** A model of which any set of layers can be left in float. */
export interface LayerQuantizer {
  readonly float: Model
  /** What the pass quantizes, in graph order. */
  readonly layers: readonly { readonly layer: string; readonly opType: string }[]
  /** Quantized but for the layers with these labels. */
  leavingInFloat(layers: readonly string[]): Promise<Model>
}

export type StaticPass = Extract<Pass, { pass: 'quantize-static' }>
/** The passes that quantize layer by layer, each with a list of those to leave out. */
export type LayerPass = Extract<Pass, { pass: 'quantize-static' | 'quantize-dynamic' | 'quantize-weights' }>

export function isLayerPass(pass: Pass): pass is LayerPass {
  return pass.pass === 'quantize-static' || pass.pass === 'quantize-dynamic' || pass.pass === 'quantize-weights'
}

/** Ranges of exactly these values of the prepared model: what is not known yet is calibrated. */
export type RangesOf = (prepared: Model, tensors: readonly string[]) => Promise<ReadonlyMap<string, Interval>>

/**
 * @param ranges asked of `quantize-static` alone. What single layers need is asked for at once, so that one calibration
 * serves them all.
 */
export function layerQuantizer(model: Model, pass: LayerPass, ranges: RangesOf): LayerQuantizer {
  const candidates = quantizableLayers(model, pass)
  if (pass.pass !== 'quantize-static') {
    return {
      float: model,
      layers: candidates,
      leavingInFloat: (left) => Promise.resolve(quantizedWithoutRanges(model, pass, [...pass.exclude, ...left])),
    }
  }
  const planned = new Set(planStatic(model, pass).plan.layers.map(({ node }) => nodeLabel(node)))
  const layers = candidates.filter(({ layer }) => planned.has(layer))
  // What the pass leaves in float of its own accord stays there, whatever else is left.
  const inFloat = candidates.flatMap(({ layer }) => (planned.has(layer) ? [] : [layer]))
  const { floatStem: _, ...plain } = pass
  const settled = { ...plain, exclude: [...pass.exclude, ...inFloat] }
  return { float: model, layers, leavingInFloat: leavingStatic(model, settled, layers, ranges) }
}

function leavingStatic(
  model: Model,
  pass: StaticPass,
  layers: LayerQuantizer['layers'],
  ranges: RangesOf,
): LayerQuantizer['leavingInFloat'] {
  const planned = (left: readonly string[]) => planStatic(model, { ...pass, exclude: [...pass.exclude, ...left] })
  const labels = layers.map(({ layer }) => layer)
  let calibrated: Promise<unknown> | undefined
  return async (left) => {
    calibrated ??= ranges(planned([]).prepared, observedAround(labels, planned))
    await calibrated
    const quantization = planned(left)
    return quantization.apply(await ranges(quantization.prepared, quantization.observe)).model
  }
}

export function planStatic(model: Model, { activations, weights, exclude, floatStem }: StaticPass) {
  return quantizeStatic(model, { activations: activations.type, weights, exclude, floatStem })
}

/** A layer alone, or the others without it, are fed by values that would be passed on as integers were all quantized. */
function observedAround(
  labels: readonly string[],
  planned: (left: readonly string[]) => ReturnType<typeof quantizeStatic>,
): readonly string[] {
  const tensors = new Set(planned([]).observe)
  for (const label of labels.length < 2 ? [] : labels) {
    for (const left of [[label], labels.filter((other) => other !== label)]) {
      for (const tensor of planned(left).observe) tensors.add(tensor)
    }
  }
  return [...tensors]
}

function quantizedWithoutRanges(model: Model, pass: Exclude<LayerPass, StaticPass>, exclude: readonly string[]): Model {
  if (pass.pass === 'quantize-weights') return quantizeWeightsOnly(model, { ...pass, exclude }).model
  return quantizeDynamic(model, { ...pass.weights, exclude }).model
}

function quantizableLayers(model: Model, pass: LayerPass): LayerQuantizer['layers'] {
  const { graph } = prepareForQuantization(model)
  const index = indexGraph(graph)
  const excluded = new Set(pass.exclude)
  const opTypes = pass.pass === 'quantize-static' ? ['Conv', 'Gemm', 'MatMul'] : ['Gemm', 'MatMul']
  return graph.nodes.flatMap((node) => {
    const layer = nodeLabel(node)
    if (!opTypes.includes(node.opType) || node.domain !== '' || excluded.has(layer)) return []
    const role = roleOf(node, (value) => index.constant(value))
    if (role.kind !== 'layer') return []
    if (pass.pass === 'quantize-weights' && role.weights.dims.length !== 2) return []
    return [{ layer, opType: node.opType }]
  })
}
