import { columns } from './columns.ts'
import { formatMs } from './format.ts'
import type { LayerRanking } from './layers.ts'

/** The ranking for people: one line a layer, those first that are best left in float. */
export function formatLayers({ recipe, layers }: LayerRanking): string {
  const header = ['#', 'layer', 'operator', 'alone quantized', 'divergence, nats', 'in float costs', '95 % interval']
  const rows = layers.map(({ layer, opType, sqnrDb, klDivergence, lostMs }, at) => [
    String(at + 1),
    layer,
    opType,
    `${sqnrDb.toFixed(1)} dB`,
    klDivergence === null ? '-' : klDivergence.toExponential(1),
    lostMs === null ? 'not timed' : signedMs(lostMs.value),
    lostMs === null ? '' : `${signedMs(lostMs.low)} to ${signedMs(lostMs.high)}`,
  ])
  return [
    `layers of ${recipe.label ?? 'the recipe'}, in the order in which to leave them in float`,
    '',
    ...columns([header, ...rows]),
    '',
    'Those not timed do too little to the outputs to matter. Name layers in "exclude" of a recipe to leave them in float.',
  ].join('\n')
}

function signedMs(value: number): string {
  return `${value < 0 ? '−' : '+'}${formatMs(Math.abs(value))}`
}
