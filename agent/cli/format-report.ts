import type { OptimizeReport } from '@edgefit/shared/model'
import { columns } from './columns.ts'
import { formatBytes, formatMeasurement, formatMs, formatTrial } from './format.ts'

/** What `edgefit-agent optimize` found, for people. `written`: names of files. */
export function formatReport(report: OptimizeReport, written: readonly string[], folder: string): string {
  const { winner } = report
  const title = `winner: ${winner?.recipe.label ?? 'unnamed recipe'}`
  return [
    ...report.trials.map(formatTrial),
    '',
    formatMeasurement('fp32', report.baseline),
    ...(winner ? ['', formatMeasurement(title, winner.measurement)] : []),
    ...(winner && winner.passes.length > 0 ? ['', formatPasses(winner.passes)] : []),
    '',
    `${report.verdict}: ${report.reasons.join('. ')}`,
    `written to ${folder}: ${written.join(', ')}`,
  ].join('\n')
}

type PassLine = NonNullable<OptimizeReport['winner']>['passes'][number]

/** One line a pass, and what each left alone below. */
export function formatPasses(passes: readonly PassLine[]): string {
  const header = ['pass', 'nodes', 'weights', 'against fp32', 'p50 after it', 'took']
  const rows = passes.map((line) => [
    line.pass,
    change(line.nodesBefore, line.nodesAfter, String),
    change(line.bytesBefore, line.bytesAfter, formatBytes),
    line.sqnrDb === null ? '-' : line.sqnrDb >= EXACT_DB ? 'equal' : `${line.sqnrDb.toFixed(1)} dB`,
    line.latencyP50Ms === null ? '-' : formatMs(line.latencyP50Ms),
    `${(line.durationMs / 1000).toFixed(2)} s`,
  ])
  const notes = passes.flatMap(({ pass, notes: own }) => own.map((note) => `  ${pass}: ${note}`))
  return [...columns([header, ...rows]), ...notes].join('\n')
}

/** Stands for outputs that are equal to the last bit. */
const EXACT_DB = 200

function change(before: number, after: number, format: (value: number) => string): string {
  return before === after ? format(before) : `${format(before)} → ${format(after)}`
}
