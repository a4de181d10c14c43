import { floorOf } from './accuracy.ts'
import { distributionChart } from './chart-distribution.ts'
import { trialsChart } from './chart-trials.ts'
import { type Html, html } from './html.ts'
import { verdictBadge } from './html-verdict.ts'
import type { Figures, LatencyRow, RowDetail } from './latency-report.ts'
import { trialFigures } from './trial-figures.ts'
import { rankTrials, trialFate } from './trial-order.ts'
import { accuracyFigure, ago, METRIC_WORDS, mebibytes, ms, plural, times } from './words.ts'

/** Everything known of one slot: distributions, trials against both limits, and why each trial lost. */
export function deviceDetail(row: LatencyRow, detail: RowDetail, id: string, nowMs: number): Html {
  const { device, slot, model, objective, deployment, variant, verdict, explanation, warnings } = row
  const facts = [
    ...(model ? [`${model.name}@${model.version}`] : []),
    ...(deployment
      ? [
          `rollout ${deployment.rollout}`,
          `${deployment.status.replace('_', ' ')} ${ago(deployment.updatedAtMs, nowMs)}`,
        ]
      : []),
    device.cpuModel ?? 'not profiled',
    ...(device.hardwareClass === null ? [] : [device.hardwareClass]),
    ...Object.entries(device.labels).map(([key, value]) => `${key}=${value}`),
    ...(variant ? [variant.label, variant.digest.slice(0, 12)] : []),
  ]
  const { baseline: fp32, variant: distribution, trials, reasons } = detail
  const budgetMs = objective?.latencyP90Ms
  return html`<details class="card detail" id="${id}" open>
    <summary><h3>${device.id}${slot === null || slot === 'main' ? '' : ` · ${slot}`}</h3>${verdictBadge(verdict)}</summary>
    <p class="quiet">${facts.join(' · ')}</p>
    <p>${explanation}</p>
    ${verdict === 'infeasible' ? reasons.map((reason) => html`<p class="quiet">${reason}</p>`) : undefined}
    ${warnings.map(({ message }) => html`<p class="warn">${message}</p>`)}
    ${
      fp32 || distribution || trials.length > 0
        ? html`<div class="charts">
      <figure><figcaption>Latency<small>Log scale; each curve as high as its own peak. Marks: p50, p90, p99.</small></figcaption>
        ${distributionChart({ id: `${id}l`, title: `Latencies on ${device.id}`, baseline: fp32, variant: distribution, budgetsMs: budgetMs === undefined ? [] : [budgetMs] })}</figure>
      ${
        budgetMs === undefined || objective === null
          ? undefined
          : html`<figure><figcaption>Accuracy against p90 latency, every trial<small>Measured on the tuning samples. Shaded: within both limits.</small></figcaption>
        ${trialsChart({ id: `${id}s`, title: `Trials on ${device.id}`, trials, budgetMs, floor: tuningFloor(row, trials) })}</figure>`
      }
    </div>`
        : undefined
    }
    ${figuresTable(row)}
    ${trials.length === 0 ? undefined : trialsTable(trials, budgetMs)}
  </details>`
}

/** Trials are judged on the tuning samples, so a relative floor is relative to fp32's accuracy there. */
function tuningFloor({ objective }: LatencyRow, trials: RowDetail['trials']): number | null {
  const fp32 = trials.find(({ baseline }) => baseline)?.accuracy?.value ?? null
  return objective === null ? null : floorOf(objective, fp32)
}

function figuresTable({ measured, baseline, accuracy, speedUp, rebenchmark }: LatencyRow): Html | undefined {
  if (measured === null && baseline === null) return undefined
  const notes = [
    ...(speedUp
      ? [
          `${times(speedUp.ratio)} as fast as fp32 in interleaved runs (95 %: ${times(speedUp.low)} to ${times(speedUp.high)}).`,
        ]
      : []),
    ...(accuracy?.retained
      ? [
          `Keeps ${(accuracy.retained.ratio * 100).toFixed(1)} % of fp32's accuracy (95 %: at least ${(accuracy.retained.low * 100).toFixed(1)} %).`,
        ]
      : []),
    ...(rebenchmark
      ? [`${plural(rebenchmark.count, 're-benchmark')} since it was chosen; the latencies are of the last one.`]
      : []),
  ]
  const line = (kind: 'variant' | 'fp32', figures: Figures | null, value: number | null) =>
    figures === null
      ? undefined
      : html`<tr><th scope="row"><span class="key ${kind}"></span>${kind}</th>
        ${(['p50', 'p90', 'p99', 'p90Bound'] as const).map((key) => html`<td class="number">${ms(figures.latencyMs[key])}</td>`)}
        <td class="number">${figures.latencyMs.count}</td>
        <td class="number">${value === null || accuracy === null ? '–' : accuracyFigure(value, accuracy)}</td>
        <td class="number">${mebibytes(figures.sizeBytes)}</td><td class="number">${mebibytes(figures.peakRssBytes)}</td>
        <td class="number">${figures.loadMs.toFixed(0)}</td><td class="number">${figures.threads}</td></tr>`
  const metric = accuracy ? METRIC_WORDS[accuracy.metric] : 'accuracy'
  return html`<div class="scroll figures" tabindex="0" role="region" aria-label="Figures"><table>
    <thead><tr><th scope="col">On the evaluation samples</th>
      ${['p50 ms', 'p90 ms', 'p99 ms', 'p90 ≤ ms', 'runs', metric, 'size MiB', 'peak MiB', 'load ms', 'threads'].map((name) => html`<th scope="col" class="number">${name}</th>`)}</tr></thead>
    <tbody>${line('variant', measured, accuracy?.value ?? null)}${line('fp32', baseline, accuracy?.baseline ?? null)}</tbody>
  </table></div>${notes.length === 0 ? undefined : html`<p class="quiet">${notes.join(' ')}</p>`}`
}

function trialsTable(trials: RowDetail['trials'], budgetMs = 0): Html {
  return html`<div class="scroll figures" tabindex="0" role="region" aria-label="Trials"><table>
    <thead><tr><th scope="col">#</th><th scope="col">Trial</th>
      ${['p50 ms', 'p90 ms', 'p90 ≤ ms', 'speed-up', 'accuracy', 'SQNR dB', 'size MiB', 'peak MiB'].map((name) => html`<th scope="col" class="number">${name}</th>`)}
      <th scope="col">Result</th></tr></thead>
    <tbody>${rankTrials(trials).map((trial) => trialRow(trial, budgetMs))}</tbody>
  </table></div>`
}

function trialRow(trial: RowDetail['trials'][number], budgetMs: number): Html {
  const { id, label, fate, threads, latencyMs, losses, failure } = trial
  const cells = [
    latencyMs ? ms(latencyMs.p50) : '–',
    latencyMs ? ms(latencyMs.p90) : '–',
    ...trialFigures(trial, budgetMs),
  ]
  const why = failure ? `${failure.reason}: ${failure.message}` : losses.map(({ detail }) => detail).join('; ')
  return html`<tr class="${fate === 'won' ? 'chosen' : ''}"><td>${id}</td><th scope="row" class="trial-name">${label}<small>${plural(threads, 'thread')}</small></th>
    ${cells.map((cell) => html`<td class="number">${cell}</td>`)}
    <td class="why"><b>${trialFate(trial)}</b>${why === '' ? undefined : html`<small>${why}</small>`}</td></tr>`
}
