import { area, curveMonotoneX } from 'd3-shape'
import { axisTicks, type ChartAxis, chartAxis, lineLabel } from './chart-axis.ts'
import { type Html, html } from './html.ts'
import type { Distribution } from './latency-report.ts'
import { logDensity } from './log-density.ts'
import { ms } from './words.ts'

export interface DistributionChart {
  /** Names the chart's parts; once per page. */
  readonly id: string
  readonly title: string
  readonly baseline: Distribution | null
  readonly variant: Distribution | null
  readonly budgetsMs: readonly number[]
}

const STEPS = 160
const [TOP, LANE, PEAK] = [18, 98, 58]

/** fp32 and variant one above the other, each as high as its own peak, crossed by the budget. */
export function distributionChart({ id, title, baseline, variant, budgetsMs }: DistributionChart): Html {
  const lanes = [
    { kind: 'fp32', distribution: baseline },
    { kind: 'variant', distribution: variant },
  ].flatMap(({ kind, distribution }) => (distribution === null ? [] : [{ kind, distribution }]))
  if (lanes.length === 0) return html`<p class="quiet">No latency has been measured yet.</p>`
  const ends = lanes.flatMap(({ distribution: { bins, p99Ms } }) => [bins[0]?.fromMs ?? p99Ms, p99Ms * 1.1])
  const axis = chartAxis([...ends, ...budgetsMs], 6)
  const bottom = TOP + lanes.length * LANE
  const description = lanes.map(({ kind, distribution }) => `${kind}: ${quantileWords(distribution)}`).join('; ')
  const strictest = budgetsMs.at(0)
  return html`<svg height="${bottom + 22}" role="img" aria-labelledby="${id}t ${id}d">
    <title id="${id}t">${title}</title>
    <desc id="${id}d">${description}${budgetsMs.map((budget) => `; budget ${ms(budget)} ms`)}</desc>
    ${axisTicks(axis, bottom, TOP)}
    ${strictest === undefined ? undefined : html`<rect class="beyond" x="${axis.at(strictest)}" y="${TOP}" width="${(100 - axis.scale(strictest)).toFixed(2)}%" height="${bottom - TOP}"/>`}
    ${lanes.map(({ kind, distribution }, index) => lane(kind, distribution, axis, TOP + index * LANE))}
    ${budgetsMs.map((budget, index) => html`<line class="limit" x1="${axis.at(budget)}" x2="${axis.at(budget)}" y1="${TOP - 4}" y2="${bottom}"/>${index === 0 ? lineLabel(axis, budget, TOP - 7, `budget ${ms(budget)} ms`) : undefined}`)}
  </svg>`
}

function lane(kind: string, distribution: Distribution, axis: ChartAxis, top: number): Html {
  const base = top + LANE
  const [fromMs = 1, toMs = 10] = axis.scale.domain()
  const density = logDensity(distribution.bins, fromMs, toMs, STEPS)
  const shape = area<number>()
    .x((_, step) => (step / (STEPS - 1)) * 1000)
    .y0(PEAK)
    .y1((height) => PEAK - height * (PEAK - 2))
    .curve(curveMonotoneX)
    .digits(1)
  const { p50Ms, p90Ms, p99Ms } = distribution
  const marks = [
    { name: 'p50', at: p50Ms, height: 5 },
    { name: 'p90', at: p90Ms, height: 11 },
    { name: 'p99', at: p99Ms, height: 5 },
  ]
  return html`<g class="${kind}"><title>${`${kind}: ${quantileWords(distribution)}, ${countWords(distribution)}`}</title>
    <svg x="0" y="${base - PEAK}" width="100%" height="${PEAK}" viewBox="0 0 1000 ${PEAK}" preserveAspectRatio="none"><path class="area" d="${shape(density) ?? ''}"/></svg>
    <line class="base" x1="0" x2="100%" y1="${base}" y2="${base}"/>
    ${marks.map(({ at, height }) => html`<line class="mark" x1="${axis.at(at)}" x2="${axis.at(at)}" y1="${base - height}" y2="${base + 1}"/>`)}
    <text y="${top + 14}"><tspan class="name">${kind}</tspan><tspan dx="8">${countWords(distribution)}</tspan><tspan x="0" dy="16">${quantileWords(distribution)}</tspan></text>
  </g>`
}

function quantileWords({ p50Ms, p90Ms, p99Ms }: Distribution): string {
  return `p50 ${ms(p50Ms)} · p90 ${ms(p90Ms)} · p99 ${ms(p99Ms)} ms`
}

function countWords({ count, measurements }: Distribution): string {
  return measurements === 1 ? `${count} runs` : `${count} runs in ${measurements} measurements`
}
