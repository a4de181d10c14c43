import { type ChartAxis, chartAxis } from './chart-axis.ts'
import { rangeAxis, rangeChart } from './chart-range.ts'
import { groupBy } from './group-by.ts'
import { type Html, type HtmlValue, html } from './html.ts'
import { verdictBadge } from './html-verdict.ts'
import type { LatencyRow } from './latency-report.ts'
import { accuracyFigure, mebibytes, ms, msBeside, plural, relativeChange, times } from './words.ts'

/** A table per model version: within it latencies share an axis, worst verdicts first. */
export function deviceTables(rows: readonly LatencyRow[], linkOf: (row: LatencyRow) => string | undefined): Html {
  const deployed = rows.filter(({ model }) => model !== null)
  const idle = rows.filter(({ model }) => model === null)
  const groups = groupBy(deployed, ({ model }) => `${model?.name}@${model?.version}`)
  return html`${[...groups].map(([name, members]) => modelTable(name, members, linkOf))}
    ${idle.length === 0 ? undefined : html`<p class="card idle"><b>No model:</b> ${idle.map(({ device }) => device.id).join(', ')}</p>`}`
}

function modelTable(name: string, rows: readonly LatencyRow[], linkOf: (row: LatencyRow) => string | undefined): Html {
  const budgetsMs = [...new Set(rows.flatMap(({ objective }) => objective?.latencyP90Ms ?? []))]
  const latencies = rows.flatMap(({ measured, baseline, nearest }) => [
    ...[measured, baseline].flatMap((figures) => (figures ? [figures.latencyMs.p50, figures.latencyMs.p90Bound] : [])),
    ...(nearest ? [nearest.p90BoundMs] : []),
  ])
  const axis = latencies.length === 0 ? undefined : chartAxis([...latencies, ...budgetsMs], 7)
  const budgets = budgetsMs.map((budget) => `${ms(budget)} ms`).join(', ')
  return html`<div class="card devices"><table>
    <caption><span class="legend" aria-hidden="true"><i></i>fp32<i class="variant"></i>variant: p90 ≤, bar p50 to p99</span>${name}<small>${plural(rows.length, 'row')}${budgets === '' ? '' : `, p90 budget ${budgets}`}</small></caption>
    <colgroup><col class="device"><col class="state"><col><col class="figure" span="4"></colgroup>
    <thead><tr>
      <th scope="col">Device</th><th scope="col">Verdict</th>
      <th scope="col" class="plot">${axis ? rangeAxis(axis, budgetsMs) : 'Latency'}</th>
      <th scope="col" class="number">P90 ≤<small>of budget, ms</small></th>
      <th scope="col" class="number">Speed-up<small>95 %</small></th>
      <th scope="col" class="number">Accuracy<small>fp32</small></th>
      <th scope="col" class="number">Size<small>vs fp32</small></th>
    </tr></thead>
    ${rows.map((row) => deviceRows(row, axis, linkOf(row)))}
  </table></div>`
}

function deviceRows(row: LatencyRow, axis: ChartAxis | undefined, link: string | undefined): Html {
  const { device, slot, objective, verdict, explanation, variant, measured, baseline, speedUp, accuracy, warnings } =
    row
  const name = slot === null || slot === 'main' ? device.id : `${device.id} · ${slot}`
  const labels = Object.entries(device.labels).map(([key, value]) => `${key}=${value}`)
  const budgetMs = objective?.latencyP90Ms
  const chart = axis && (measured || baseline || row.nearest) ? rangeChart(row, axis) : undefined
  const notes = [
    ...(verdict === 'met' || verdict === 'unassigned' ? [] : [html`<p>${explanation}</p>`]),
    ...warnings.map(({ message }) => html`<p class="warn">${message}</p>`),
  ]
  return html`<tbody><tr>
      <th scope="row">${link === undefined ? name : html`<a href="#${link}">${name}</a>`}<small>${[device.cpuModel ?? 'not profiled', ...labels].join(' · ')}</small></th>
      <td class="state">${verdictBadge(verdict)}</td>
      <td class="plot${chart || variant ? '' : ' empty'}">${chart}${variant ? html`<small>${variant.label}</small>` : undefined}</td>
      ${figureCell('P90 ≤', p90Figure(measured?.latencyMs.p90Bound, budgetMs), budgetMs === undefined ? '' : `of ${ms(budgetMs)}`)}
      ${figureCell('Speed-up', speedUp ? times(speedUp.ratio) : undefined, speedUp ? `${speedUp.low.toFixed(2)}–${speedUp.high.toFixed(2)}` : '')}
      ${figureCell('Accuracy', accuracy ? accuracyFigure(accuracy.value, accuracy) : undefined, accuracy && accuracy.baseline !== null ? accuracyFigure(accuracy.baseline, accuracy) : '')}
      ${figureCell('Size', measured ? `${mebibytes(measured.sizeBytes)} MiB` : undefined, measured && baseline ? relativeChange(measured.sizeBytes, baseline.sizeBytes) : '')}
    </tr>${notes.length === 0 ? undefined : html`<tr class="note"><td colspan="7">${notes}</td></tr>`}</tbody>`
}

function figureCell(label: string, figure: HtmlValue, beside: string): Html {
  const known = figure !== undefined
  return html`<td class="number${known ? '' : ' empty'}" data-label="${label}">${known ? figure : '–'}<small>${beside}</small></td>`
}

function p90Figure(p90BoundMs: number | undefined, budgetMs: number | undefined): HtmlValue {
  if (p90BoundMs === undefined || budgetMs === undefined) return undefined
  const figure = msBeside(p90BoundMs, budgetMs)
  return p90BoundMs > budgetMs ? html`<span class="over">${figure}</span>` : figure
}
