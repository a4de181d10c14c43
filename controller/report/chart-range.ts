import { axisTicks, type ChartAxis, lineLabel } from './chart-axis.ts'
import { type Html, html } from './html.ts'
import type { Figures, LatencyRow } from './latency-report.ts'
import { ms, msBeside } from './words.ts'

const HEIGHT = 34

/** A row's latencies on the axis of its table: p50 to p99 as a bar, the p90 bound as a dot, fp32 above the variant. */
export function rangeChart(row: LatencyRow, axis: ChartAxis): Html {
  const { baseline, measured, nearest, objective, device } = row
  const budgetMs = objective?.latencyP90Ms
  const words = [
    ...(measured ? [`variant p90 at most ${ms(measured.latencyMs.p90Bound)} ms`] : []),
    ...(nearest ? [`nearest trial p90 at most ${ms(nearest.p90BoundMs)} ms`] : []),
    ...(baseline ? [`fp32 ${ms(baseline.latencyMs.p90Bound)} ms`] : []),
    ...(budgetMs === undefined ? [] : [`budget ${ms(budgetMs)} ms`]),
  ]
  return html`<svg height="${HEIGHT}" role="img" aria-label="${`${device.id}: ${words.join(', ')}`}">
    ${axis.ticksMs.map((tick) => html`<line class="grid" x1="${axis.at(tick)}" x2="${axis.at(tick)}" y1="0" y2="${HEIGHT}"/>`)}
    ${budgetMs === undefined ? undefined : html`<line class="limit" x1="${axis.at(budgetMs)}" x2="${axis.at(budgetMs)}" y1="0" y2="${HEIGHT}"><title>budget ${ms(budgetMs)} ms</title></line>`}
    ${baseline ? range('fp32', baseline, axis, 10, budgetMs) : undefined}
    ${measured ? range('variant', measured, axis, 24, budgetMs) : undefined}
    ${measured === null && nearest ? html`<g class="fp32"><circle class="dot" cx="${axis.at(nearest.p90BoundMs)}" cy="24" r="4.5"><title>${`nearest: ${nearest.label}, p90 at most ${ms(nearest.p90BoundMs)} ms`}</title></circle></g>` : undefined}
  </svg>`
}

/** The axis over a table's charts, with the budgets named. */
export function rangeAxis(axis: ChartAxis, budgetsMs: readonly number[]): Html {
  return html`<svg height="36" aria-hidden="true">
    ${budgetsMs.length === 1 ? budgetsMs.map((budgetMs) => lineLabel(axis, budgetMs, 10, `budget ${ms(budgetMs)}`)) : undefined}
    ${axisTicks(axis, 16, 36)}
  </svg>`
}

function range(kind: 'fp32' | 'variant', { latencyMs }: Figures, axis: ChartAxis, y: number, budgetMs = 0): Html {
  const { p50, p90, p99, p90Bound, count } = latencyMs
  const title = `${kind}: p50 ${ms(p50)}, p90 ${ms(p90)} (at most ${msBeside(p90Bound, budgetMs)}), p99 ${ms(p99)} ms, ${count} runs`
  return html`<g class="${kind}"><title>${title}</title>
    <line class="range" x1="${axis.at(p50)}" x2="${axis.at(p99)}" y1="${y}" y2="${y}"/>
    <circle class="dot" cx="${axis.at(p90Bound)}" cy="${y}" r="4.5"/></g>`
}
