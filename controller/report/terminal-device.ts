import type { Figures, LatencyRow, TrialLine } from './latency-report.ts'
import { printable } from './printable.ts'
import { latencyHistogram } from './terminal-histogram.ts'
import { compactTable, type TableRow } from './terminal-table.ts'
import { type Paint, VERDICT_INKS } from './terminal-text.ts'
import { trialFigures } from './trial-figures.ts'
import { rankTrials, trialFate } from './trial-order.ts'
import {
  accuracyFigure,
  ago,
  METRIC_WORDS,
  mebibytes,
  ms,
  plural,
  times,
  VERDICT_SIGNS,
  VERDICT_WORDS,
} from './words.ts'

interface DeviceOptions {
  readonly nowMs: number
  readonly columns: number
  readonly paint: Paint
}

/** One slot of one device in full: figures, distributions against the budget, every trial and why it lost. */
export function renderDevice(row: LatencyRow, { nowMs, columns, paint }: DeviceOptions): string {
  const sections = [heading(row, nowMs, columns, paint)]
  const { detail, objective } = row
  const figures = figuresTable(row, columns, paint)
  if (figures !== undefined) sections.push(figures)
  if (detail !== null && (detail.baseline !== null || detail.variant !== null)) {
    const series = [
      { name: 'fp32', distribution: detail.baseline },
      { name: 'variant', distribution: detail.variant },
    ]
    sections.push(latencyHistogram(series, objective?.latencyP90Ms, { columns, paint }))
  }
  if (detail !== null && detail.trials.length > 0) sections.push(trialTable(row, detail.trials, columns, paint))
  return sections.join('\n\n')
}

function heading(row: LatencyRow, nowMs: number, columns: number, paint: Paint): string {
  const { device, slot, model, deployment, variant, verdict, explanation, warnings, detail } = row
  const labels = Object.entries(device.labels).map(([key, value]) => `${key}=${value}`)
  const about = [
    device.cpuModel ?? 'not profiled',
    ...(device.hardwareClass === null ? [] : [`class ${device.hardwareClass}`]),
    device.online ? 'online' : 'offline',
    ...labels,
  ]
  const lines: TableRow[] = [
    { across: `${paint('bold', printable(device.id))}${slot === null ? '' : ` · slot ${slot}`}`, indent: 0 },
    { across: paint('dim', printable(about.join(' · '))), indent: 0 },
  ]
  if (model !== null && deployment !== null) {
    const what = [
      `${model.name}@${model.version}`,
      `rollout ${deployment.rollout}`,
      ...(deployment.attempt > 1 ? [`attempt ${deployment.attempt}`] : []),
      `${deployment.status.replace('_', ' ')} ${ago(deployment.updatedAtMs, nowMs)}`,
    ]
    lines.push({ across: printable(what.join(' · ')), indent: 0 })
  }
  if (variant !== null)
    lines.push({ across: printable(`${variant.label} · ${variant.digest.slice(0, 12)}`), indent: 0 })
  const verdictText = paint('bold', `${VERDICT_SIGNS[verdict]} ${VERDICT_WORDS[verdict]}`)
  lines.push({ across: '', indent: 0 })
  lines.push({ across: `${paint(VERDICT_INKS[verdict], verdictText)}: ${printable(explanation)}`, indent: 0 })
  for (const { message } of warnings) lines.push({ across: paint('yellow', printable(`! ${message}`)), indent: 2 })
  if (verdict === 'infeasible') {
    for (const reason of detail?.reasons ?? []) lines.push({ across: printable(reason), indent: 2 })
  }
  return compactTable([{}], lines, columns)
}

const RIGHT = { alignment: 'right' } as const

const FIGURE_COLUMNS = [
  {},
  RIGHT,
  RIGHT,
  RIGHT,
  RIGHT,
  { ...RIGHT, fromWidth: 70 },
  RIGHT,
  RIGHT,
  { ...RIGHT, fromWidth: 90 },
  { ...RIGHT, fromWidth: 90 },
  { ...RIGHT, fromWidth: 90 },
]

function figuresTable(row: LatencyRow, columns: number, paint: Paint): string | undefined {
  const { measured, baseline, accuracy, speedUp } = row
  if (measured === null && baseline === null) return undefined
  const metric = accuracy === null ? 'ACCURACY' : METRIC_WORDS[accuracy.metric].toUpperCase()
  const header = [
    '',
    'P50 ms',
    'P90 ms',
    'P99 ms',
    'P90 ≤',
    'RUNS',
    metric,
    'SIZE MiB',
    'PEAK MiB',
    'LOAD ms',
    'THREADS',
  ]
  const line = (name: string, figures: Figures | null, value: number | null): string[][] =>
    figures === null
      ? []
      : [
          [
            name,
            ...(['p50', 'p90', 'p99', 'p90Bound'] as const).map((key) => ms(figures.latencyMs[key])),
            String(figures.latencyMs.count),
            value === null || accuracy === null ? '–' : accuracyFigure(value, accuracy),
            mebibytes(figures.sizeBytes),
            mebibytes(figures.peakRssBytes),
            figures.loadMs.toFixed(0),
            String(figures.threads),
          ],
        ]
  const lines: TableRow[] = [
    header.map((cell) => paint('bold', cell)),
    ...line('variant', measured, accuracy?.value ?? null),
    ...line('fp32', baseline, accuracy?.baseline ?? null),
  ]
  const notes: string[] = []
  if (speedUp !== null) {
    notes.push(`${times(speedUp.ratio)} as fast as fp32 (95 %: ${times(speedUp.low)} to ${times(speedUp.high)})`)
  }
  if (accuracy?.retained) {
    const { ratio, low } = accuracy.retained
    const floor = accuracy.floor === null ? '' : `, the floor is ${accuracyFigure(accuracy.floor, accuracy)}`
    notes.push(
      `keeps ${(ratio * 100).toFixed(1)} % of fp32's accuracy (95 %: at least ${(low * 100).toFixed(1)} %)${floor}`,
    )
  }
  if (row.rebenchmark !== null)
    notes.push(`${plural(row.rebenchmark.count, 're-benchmark')} since it was chosen; latencies are of the last`)
  for (const note of notes) lines.push({ across: note, indent: 0 })
  return compactTable(FIGURE_COLUMNS, lines, columns)
}

const TRIAL_COLUMNS = [
  RIGHT,
  { shrinksTo: 18 },
  { shrinksTo: 10 },
  RIGHT,
  RIGHT,
  RIGHT,
  { ...RIGHT, fromWidth: 90 },
  { ...RIGHT, fromWidth: 80 },
  { ...RIGHT, fromWidth: 80 },
]

function trialTable({ objective }: LatencyRow, trials: readonly TrialLine[], columns: number, paint: Paint): string {
  const header = ['#', 'TRIAL', 'RESULT', 'P90 ≤ ms', 'SPEED-UP', 'ACCURACY', 'SQNR dB', 'SIZE MiB', 'PEAK MiB']
  const lines: TableRow[] = [header.map((cell) => paint('bold', cell))]
  for (const trial of rankTrials(trials)) {
    const { id, label, fate, failure } = trial
    const ink = fate === 'won' ? 'green' : fate === 'failed' ? 'red' : 'dim'
    lines.push([
      String(id),
      printable(label),
      paint(ink, trialFate(trial)),
      ...trialFigures(trial, objective?.latencyP90Ms ?? 0),
    ])
    for (const { detail } of trial.losses) lines.push({ across: paint('dim', printable(detail)), indent: 6 })
    if (failure !== null)
      lines.push({ across: paint('dim', printable(`${failure.reason}: ${failure.message}`)), indent: 6 })
  }
  lines.push({
    across: paint(
      'dim',
      'Trials are measured on the tuning samples, the chosen variant again on the evaluation samples.',
    ),
    indent: 0,
  })
  return compactTable(TRIAL_COLUMNS, lines, columns)
}
