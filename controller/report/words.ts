import type { Accuracy } from '@edgefit/shared/model'
import type { LatencyRow, ReportFilters, Verdict } from './latency-report.ts'

/** How figures, times and verdicts are worded, the same on the terminal and on the page. */

export const VERDICT_WORDS: Readonly<Record<Verdict, string>> = {
  failed: 'failed',
  missed: 'over budget',
  infeasible: 'out of reach',
  undecided: 'undecided',
  pending: 'pending',
  met: 'met',
  cancelled: 'cancelled',
  unassigned: 'no model',
}

/** A shape per verdict, so that none is told by colour alone. All are one column wide on a terminal. */
export const VERDICT_SIGNS: Readonly<Record<Verdict, string>> = {
  failed: '✕',
  missed: '▲',
  infeasible: '◆',
  undecided: '?',
  pending: '◌',
  met: '●',
  cancelled: '−',
  unassigned: '·',
}

/** Three significant digits, in ms without the unit: 0.412, 4.12, 41.2, 412. */
export function ms(value: number): string {
  if (value >= 99.95) return value.toFixed(0)
  if (value >= 9.995) return value.toFixed(1)
  return value.toFixed(value >= 0.9995 ? 2 : 3)
}

/** Like {@link ms}, with as many more digits as it takes to tell `value` from `limit`: 12.04 against 12.0. */
export function msBeside(value: number, limit: number): string {
  let text = ms(value)
  for (
    let digits = 2;
    digits <= 6 && value !== limit && Number(text) === Number(limit.toFixed(digits - 1));
    digits += 1
  ) {
    text = value.toFixed(digits)
  }
  return text
}

export function mebibytes(bytes: number): string {
  const value = bytes / 2 ** 20
  if (value >= 99.95) return value.toFixed(0)
  return value.toFixed(value >= 9.995 ? 1 : 2)
}

/** `-74 %`, `+3 %`: how `value` differs from `reference`. */
export function relativeChange(value: number, reference: number): string {
  const percent = Math.round((value / reference - 1) * 100)
  return `${percent > 0 ? '+' : percent < 0 ? '−' : '±'}${Math.abs(percent)} %`
}

/** `2.61×`. */
export function times(ratio: number): string {
  return `${ratio.toFixed(ratio >= 9.995 ? 1 : 2)}×`
}

/** Shares as percentages, an AUC as it is; digits as the number of samples deserves. */
export function accuracyFigure(value: number, { metric, count }: Pick<Accuracy, 'metric' | 'count'>): string {
  if (metric === 'auc') return value.toFixed(count >= 1000 ? 4 : 3)
  return `${(value * 100).toFixed(count >= 1000 ? 2 : 1)} %`
}

export const METRIC_WORDS: Readonly<Record<Accuracy['metric'], string>> = {
  top1: 'top-1 accuracy',
  agreement: 'agreement with fp32',
  accuracy: 'accuracy',
  auc: 'AUC',
  'within-tolerance': 'within tolerance',
  custom: 'score',
}

/** `2026-07-29 14:02 UTC`. */
export function utcMinute(atMs: number): string {
  return `${new Date(atMs).toISOString().slice(0, 16).replace('T', ' ')} UTC`
}

/** `3 h ago`; what lies in the future (clocks differ) is `just now`. */
export function ago(atMs: number, nowMs: number): string {
  const seconds = Math.max(0, (nowMs - atMs) / 1000)
  if (seconds < 60) return 'just now'
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`
  if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)} h ago`
  return `${Math.floor(seconds / 86_400)} days ago`
}

export function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}

/** `3 of 5 devices meet their objectives.` and `1 over budget, 1 pending.`; devices without a model are apart. */
export function headline(rows: readonly LatencyRow[]): { readonly met: string; readonly others: string } {
  const counts = new Map<Verdict, number>()
  for (const { verdict } of rows) counts.set(verdict, (counts.get(verdict) ?? 0) + 1)
  const met = counts.get('met') ?? 0
  const total = rows.length - (counts.get('unassigned') ?? 0)
  if (total === 0) return { met: rows.length === 0 ? 'Nothing to report.' : 'No device has a model.', others: '' }
  const noun = new Set(rows.map(({ device }) => device.id)).size === rows.length ? 'device' : 'slot'
  const others = [...counts]
    .filter(([verdict]) => verdict !== 'met')
    .map(([verdict, count]) => `${count} ${VERDICT_WORDS[verdict]}`)
  return {
    met: metWords(met, total, noun),
    others: others.length === 0 || rows.length === 1 ? '' : `${others.join(', ')}.`,
  }
}

function metWords(met: number, total: number, noun: string): string {
  if (total === 1) return `The ${noun} ${met === 1 ? 'meets' : 'does not meet'} its objective.`
  if (met === total) return `All ${total} ${noun}s meet their objectives.`
  return `${met === 0 ? 'None' : met} of ${total} ${noun}s ${met === 1 ? 'meets its objective' : 'meet their objectives'}.`
}

export function filterWords(filters: ReportFilters): string {
  const named: [string, string | undefined][] = [
    ['device', filters.device],
    ['model', filters.model],
    ['rollout', filters.rollout],
    ['class', filters.hardwareClass],
  ]
  return named.flatMap(([name, value]) => (value === undefined ? [] : [`${name} ${value}`])).join(', ')
}
