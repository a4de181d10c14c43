import { latencyAxis } from './latency-axis.ts'
import type { Distribution } from './latency-report.ts'
import { logDensity } from './log-density.ts'
import type { Paint } from './terminal-text.ts'
import { ms } from './words.ts'

export interface Series {
  readonly name: string
  readonly distribution: Distribution | null
}

const ROWS = 4
const EIGHTHS = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█']
const MARGIN = 10

/** Distributions one above the other on one logarithmic axis, each as high as its own peak, with the budget as a line. */
export function latencyHistogram(
  series: readonly Series[],
  budgetMs: number | undefined,
  { columns, paint }: { readonly columns: number; readonly paint: Paint },
): string {
  const width = Math.max(30, Math.min(columns, 120) - MARGIN - 2)
  const shown = series.flatMap(({ name, distribution }) => (distribution === null ? [] : [{ name, distribution }]))
  const ends = shown.flatMap(({ distribution: { bins, p99Ms } }) => [bins[0]?.fromMs ?? p99Ms, p99Ms * 1.15])
  const { scale, ticksMs } = latencyAxis(
    budgetMs === undefined ? ends : [...ends, budgetMs],
    [0, width - 1],
    Math.floor(width / 10),
  )
  const [fromMs = 1, toMs = 10] = scale.domain()
  const columnOf = (latencyMs: number) => Math.round(scale(latencyMs))
  const budgetColumn = budgetMs === undefined ? undefined : columnOf(budgetMs)

  const lines: string[] = []
  for (const { name, distribution } of shown) {
    const density = logDensity(distribution.bins, fromMs, toMs, width)
    for (let row = ROWS - 1; row >= 0; row -= 1) {
      const cells = density.map((height, column) => {
        const filled = EIGHTHS[Math.min(8, Math.max(0, Math.round((height * ROWS - row) * 8)))] ?? ' '
        if (column !== budgetColumn) return filled
        return filled === ' ' ? paint('yellow', '│') : filled
      })
      const label = row === 0 ? name : ''
      lines.push(`${label.padEnd(MARGIN)}${cells.join('')}`)
    }
  }
  return [...lines, ...axisLines(ticksMs, columnOf, width), ...budgetLine(budgetMs, budgetColumn, paint)]
    .map((line) => line.trimEnd())
    .join('\n')
}

function axisLines(ticksMs: readonly number[], columnOf: (latencyMs: number) => number, width: number): string[] {
  const ruler = new Array<string>(width).fill('─')
  let labels = ''
  for (const tick of ticksMs) {
    const text = String(tick)
    const start = Math.max(0, columnOf(tick) - Math.floor(text.length / 2))
    if (start < labels.length + 2 && labels !== '') continue
    ruler[columnOf(tick)] = '┴'
    labels = `${labels.padEnd(start)}${text}`
  }
  return [`${''.padEnd(MARGIN)}${ruler.join('')}`, `${'ms'.padEnd(MARGIN)}${labels}`]
}

function budgetLine(budgetMs: number | undefined, column: number | undefined, paint: Paint): string[] {
  if (budgetMs === undefined || column === undefined) return []
  const text = `budget ${ms(budgetMs)} ms`
  const line = column > text.length + 4 ? `${`${text} `.padStart(column)}▲` : `${'▲'.padStart(column + 1)} ${text}`
  return [paint('yellow', `${''.padEnd(MARGIN)}${line}`)]
}
