import type { LayerSensitivity } from '@edgefit/shared/model'
import type { LayerNoise } from './layer-noise.ts'

/** Layers beyond these share what is left of the noise: leaving one of them in float shows in no accuracy. */
const MATTERING_SHARE = 0.95
const AT_LEAST = 8

/**
 * The fewest layers that together make up 95 % of what quantization does to the outputs, but at least the loudest 8: those
 * whose latency is worth measuring. Loudest first.
 */
export function matteringLayers(layers: readonly LayerNoise[]): readonly LayerNoise[] {
  const sorted = [...layers].sort((a, b) => harmOf(b) - harmOf(a))
  const total = sorted.reduce((sum, layer) => sum + harmOf(layer), 0)
  let covered = 0
  return sorted.filter((layer, index) => {
    const matters = harmOf(layer) > 0 && (index < AT_LEAST || covered < MATTERING_SHARE * total)
    covered += harmOf(layer)
    return matters
  })
}

/**
 * Which layers to leave in float first: accuracy won back per millisecond lost.
 *
 * Layers that cost nothing come first, most accuracy first: those that are faster in float beyond noise, then those whose
 * loss is within noise, which counts as none. Those whose time was not measured do not matter, and come last.
 */
export function rankLayers(layers: readonly LayerSensitivity[]): LayerSensitivity[] {
  return [...layers].sort((a, b) => group(a) - group(b) || worth(b) - worth(a))
}

/** How many at the head of a ranking are faster in float: no variant should have them quantized. */
export function fasterInFloat(ranking: readonly LayerSensitivity[]): number {
  return ranking.filter((layer) => group(layer) === 0).length
}

function group({ lostMs }: LayerSensitivity): number {
  if (lostMs === null) return 3
  if (lostMs.high < 0) return 0
  return lostMs.low <= 0 ? 1 : 2
}

function worth(layer: LayerSensitivity): number {
  return group(layer) === 2 && layer.lostMs !== null ? harmOf(layer) / layer.lostMs.value : harmOf(layer)
}

/** The divergence of probabilities is nearer to decisions than the noise of logits: it goes first where there is one. */
function harmOf({ klDivergence, noiseRatio }: Pick<LayerNoise, 'klDivergence' | 'noiseRatio'>): number {
  return klDivergence ?? noiseRatio
}
