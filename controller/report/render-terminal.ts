import { groupBy } from './group-by.ts'
import type { Distribution, LatencyGroup, LatencyReport, LatencyRow, Verdict } from './latency-report.ts'
import { printable } from './printable.ts'
import { renderDevice } from './terminal-device.ts'
import { compactTable, type TableRow } from './terminal-table.ts'
import { type Paint, painter, VERDICT_INKS } from './terminal-text.ts'
import {
  accuracyFigure,
  filterWords,
  headline,
  mebibytes,
  ms,
  msBeside,
  plural,
  relativeChange,
  times,
  utcMinute,
  VERDICT_SIGNS,
  VERDICT_WORDS,
} from './words.ts'

export interface TerminalOptions {
  /** Width of the terminal. Below 72 lines may be longer than that. */
  readonly columns: number
  readonly colour: boolean
}

/** The report as text: worst verdicts first, sums last, where a terminal leaves the eye. One device has its trials. */
export function renderLatencyTerminal(report: LatencyReport, { columns, colour }: TerminalOptions): string {
  const paint = painter(colour)
  const filters = filterWords(report.filters)
  const title = `${paint('bold', 'Latency report')} · ${utcMinute(report.generatedAtMs)}${filters === '' ? '' : ` · ${printable(filters)}`}`
  const sections = [title]
  if (report.filters.device !== undefined) {
    sections.push(...report.rows.map((row) => renderDevice(row, { nowMs: report.generatedAtMs, columns, paint })))
  } else {
    if (report.rows.length > 0) sections.push(deviceTable(report.rows, columns, paint))
    if (report.groups.length > 0) sections.push(groupTable(report.groups, columns, paint))
  }
  sections.push(compactTable([{}], [{ across: headlineText(report.rows, paint), indent: 0 }], columns))
  return `${sections.join('\n\n')}\n`
}

function headlineText(rows: readonly LatencyRow[], paint: Paint): string {
  const { met, others } = headline(rows)
  return `${paint('bold', met)}${others === '' ? '' : ` ${others}`}`
}

const RIGHT = { alignment: 'right' } as const
const [SIZE_FROM_WIDTH, SPEED_UP_FROM_WIDTH] = [88, 76]
const DEVICE_COLUMNS = [
  {},
  { shrinksTo: 12 },
  { shrinksTo: 18 },
  RIGHT,
  { ...RIGHT, fromWidth: SPEED_UP_FROM_WIDTH },
  RIGHT,
  { ...RIGHT, fromWidth: SIZE_FROM_WIDTH },
]

function deviceTable(rows: readonly LatencyRow[], columns: number, paint: Paint): string {
  const lines: TableRow[] = [
    ['', 'DEVICE', 'MODEL', 'P90 ≤ / BUDGET ms', 'SPEED-UP', 'ACCURACY', 'SIZE MiB'].map((cell) => paint('bold', cell)),
    ['', 'CPU', 'recipe', 'p50–p99', '95 %', 'fp32', 'vs fp32'].map((cell) => paint('dim', cell)),
  ]
  for (const [verdict, members] of groupBy(rows, (row) => row.verdict)) {
    const heading = `${VERDICT_SIGNS[verdict]} ${VERDICT_WORDS[verdict]} (${members.length})`
    lines.push({ across: '', indent: 0 }, { across: paint(VERDICT_INKS[verdict], paint('bold', heading)), indent: 0 })
    for (const row of members) lines.push(...deviceLines(row, paint))
  }
  const hidden = [
    ...(columns < SIZE_FROM_WIDTH ? ['size'] : []),
    ...(columns < SPEED_UP_FROM_WIDTH ? ['speed-up'] : []),
  ]
  const notes = ['P90 ≤: nine runs in ten take at most this long, with 99 % confidence; budgets are judged by it.']
  if (hidden.length > 0) notes.push(`Left out for want of width: ${hidden.join(', ')}.`)
  lines.push({ across: '', indent: 0 }, ...notes.map((note) => ({ across: paint('dim', note), indent: 0 })))
  return compactTable(DEVICE_COLUMNS, lines, columns)
}

function deviceLines(row: LatencyRow, paint: Paint): TableRow[] {
  const { device, model, slot, objective, variant, measured, baseline, speedUp, accuracy, warnings, verdict } = row
  const budgetMs = objective?.latencyP90Ms
  const slotName = slot === null || slot === 'main' ? '' : ` (${slot})`
  const dim = (text: string) => paint('dim', printable(text))
  const latency = measured?.latencyMs
  const cells: [string, string][] = [
    ['', ''],
    [printable(device.id), device.cpuModel ?? 'not profiled'],
    [model === null ? '–' : printable(`${model.name}@${model.version}${slotName}`), variant?.label ?? ''],
    [
      budgetMs === undefined ? '' : p90Cell(latency?.p90Bound, budgetMs, paint),
      latency ? `${ms(latency.p50)}–${ms(latency.p99)}` : '',
    ],
    [speedUp ? times(speedUp.ratio) : '', speedUp ? `${speedUp.low.toFixed(2)}–${speedUp.high.toFixed(2)}` : ''],
    [
      accuracy ? accuracyFigure(accuracy.value, accuracy) : '',
      accuracy && accuracy.baseline !== null ? `fp32 ${accuracyFigure(accuracy.baseline, accuracy)}` : '',
    ],
    [
      measured ? mebibytes(measured.sizeBytes) : '',
      measured && baseline ? relativeChange(measured.sizeBytes, baseline.sizeBytes) : '',
    ],
  ]
  const notes: TableRow[] =
    verdict === 'met' || verdict === 'unassigned' ? [] : [{ across: printable(row.explanation), indent: 4 }]
  for (const { message } of warnings) notes.push({ across: paint('yellow', printable(`! ${message}`)), indent: 4 })
  return [cells.map(([first, second]) => `${first}\n${dim(second)}`), ...notes]
}

function p90Cell(p90BoundMs: number | undefined, budgetMs: number, paint: Paint): string {
  if (p90BoundMs === undefined) return `– / ${ms(budgetMs)}`
  const figure = msBeside(p90BoundMs, budgetMs)
  return `${p90BoundMs > budgetMs ? paint('yellow', figure) : figure} / ${ms(budgetMs)}`
}

const GROUP_COLUMNS = [
  { shrinksTo: 16 },
  { shrinksTo: 12 },
  { shrinksTo: 14, fromWidth: 80 },
  {},
  RIGHT,
  RIGHT,
  RIGHT,
  { ...RIGHT, fromWidth: 88 },
]

function groupTable(groups: readonly LatencyGroup[], columns: number, paint: Paint): string {
  const header = ['HARDWARE CLASS', 'MODEL', 'VERDICTS', '', 'P50 ms', 'P90 ms', 'P99 ms', 'RUNS']
  const lines: TableRow[] = [header.map((cell) => paint('bold', cell))]
  for (const { hardwareClass, cpuModel, model, devices, verdicts, variant, baseline } of groups) {
    const counts = Object.entries(verdicts).map(([verdict, count]) => `${count} ${VERDICT_WORDS[verdict as Verdict]}`)
    const figures = [figuresOf(variant), figuresOf(baseline).map((figure) => paint('dim', figure))]
    lines.push([
      `${hardwareClass}\n${paint('dim', printable(cpuModel))}`,
      `${printable(model.name)}@${model.version}\n${paint('dim', plural(devices, 'device'))}`,
      counts.join(', '),
      `variant\n${paint('dim', 'fp32')}`,
      ...[0, 1, 2, 3].map((index) => figures.map((line) => line[index]).join('\n')),
    ])
  }
  return compactTable(GROUP_COLUMNS, lines, columns)
}

function figuresOf(distribution: Distribution | null): string[] {
  if (distribution === null) return ['–', '–', '–', '0']
  const { p50Ms, p90Ms, p99Ms, count } = distribution
  return [ms(p50Ms), ms(p90Ms), ms(p99Ms), String(count)]
}
