import { distributionChart } from './chart-distribution.ts'
import { type Html, html } from './html.ts'
import { verdictBadge } from './html-verdict.ts'
import { type LatencyGroup, VERDICTS } from './latency-report.ts'
import { plural } from './words.ts'

/** One card per hardware class and model version, with all its devices' runs added up. */
export function groupCards(groups: readonly LatencyGroup[]): Html {
  return html`<div class="groups">${groups.map(groupCard)}</div>`
}

function groupCard(group: LatencyGroup, index: number): Html {
  const { hardwareClass, cpuModel, model, devices, verdicts, budgetsP90Ms, baseline, variant, recipes } = group
  const name = `${model.name}@${model.version} on ${cpuModel}`
  return html`<section class="card">
    <h3>${name}</h3>
    <p class="quiet">${hardwareClass} · ${plural(devices, 'device')}</p>
    <p>${VERDICTS.flatMap((verdict) => (verdicts[verdict] === undefined ? [] : [verdictBadge(verdict, verdicts[verdict]), html` `]))}</p>
    <figure>${distributionChart({ id: `g${index}`, title: `Latencies of ${name}`, baseline, variant, budgetsMs: budgetsP90Ms })}</figure>
    ${recipes.length === 0 ? undefined : html`<p class="quiet">${recipes.map(({ label, devices: chosen }) => `${label} (${chosen})`).join(', ')}</p>`}
  </section>`
}
