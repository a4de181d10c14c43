import { stripVTControlCharacters } from 'node:util'
import { table } from 'table'

export interface TableColumn {
  readonly alignment?: 'left' | 'right'
  /** Shrinks to this width, its words wrapped, where the lines are too long for the terminal. */
  readonly shrinksTo?: number
  /** Left out on terminals narrower than this. */
  readonly fromWidth?: number
}

/** Cells of a row, each of one line or more; or one text across the whole width, indented. */
export type TableRow = readonly string[] | { readonly across: string; readonly indent: number }

const GAP = 2

/** A table without borders that fits in `width` columns as far as the columns that may shrink or go allow. */
export function compactTable(allColumns: readonly TableColumn[], allRows: readonly TableRow[], width: number): string {
  const kept = allColumns.map(({ fromWidth = 0 }) => width >= fromWidth)
  const columns = allColumns.filter((_, index) => kept[index])
  const rows = allRows.map((row) => (isCells(row) ? row.filter((_, index) => kept[index]) : row))
  const widths = fit(columns, naturalWidths(columns, rows), width - GAP * (columns.length - 1))
  const lineWidth = widths.reduce((sum, one) => sum + one, GAP * (columns.length - 1))
  const text: string[] = []
  // Rows across the width are laid out on their own: as spanning cells they would take quadratic time.
  let cells: string[][] = []
  const flush = () => {
    if (cells.length > 0) text.push(layOut(columns, cells, widths))
    cells = []
  }
  for (const row of rows) {
    if (isCells(row)) {
      cells.push([...row])
      continue
    }
    flush()
    const indented = Math.max(20, Math.max(lineWidth, Math.min(width, 100)) - row.indent)
    const block = row.across === '' ? '' : layOut([{}], [[row.across]], [indented])
    text.push(block.replaceAll(/^(?=.)/gm, ' '.repeat(row.indent)))
  }
  flush()
  return text.join('\n')
}

function isCells(row: TableRow): row is readonly string[] {
  return Array.isArray(row)
}

function layOut(columns: readonly TableColumn[], rows: readonly string[][], widths: readonly number[]): string {
  const laidOut = table(
    rows.map((row) => [...row]),
    {
      border: NO_BORDER,
      drawHorizontalLine: () => false,
      columns: columns.map(({ alignment = 'left' }, index) => ({
        alignment,
        width: widths[index] ?? 1,
        wrapWord: true,
        paddingLeft: 0,
        paddingRight: index === columns.length - 1 ? 0 : GAP,
      })),
    },
  )
  return laidOut.trimEnd().replaceAll(/ +$/gm, '')
}

function naturalWidths(columns: readonly TableColumn[], rows: readonly TableRow[]): number[] {
  return columns.map((_, index) => {
    const lines = rows.filter(isCells).flatMap((row) => (row[index] ?? '').split('\n'))
    return lines.reduce((widest, line) => Math.max(widest, visibleLength(line)), 1)
  })
}

/** Takes what is too much from the widest of the columns that may shrink, one column at a time. */
function fit(columns: readonly TableColumn[], natural: readonly number[], available: number): number[] {
  const widths = [...natural]
  for (let excess = widths.reduce((sum, one) => sum + one, 0) - available; excess > 0; excess -= 1) {
    const spare = (index: number) => (widths[index] ?? 0) - (columns[index]?.shrinksTo ?? Number.POSITIVE_INFINITY)
    const widest = widths.reduce((best, width, index) => {
      const better = spare(index) > 0 && (best < 0 || width > (widths[best] ?? 0))
      return better ? index : best
    }, -1)
    if (widest < 0) break
    widths[widest] = (widths[widest] ?? 1) - 1
  }
  return widths
}

/** Wide characters count once: a column of them wraps a little earlier than it needs to. */
function visibleLength(line: string): number {
  return [...stripVTControlCharacters(line)].length
}

const NO_BORDER = Object.fromEntries(
  [
    ...['topBody', 'topJoin', 'topLeft', 'topRight', 'bottomBody', 'bottomJoin', 'bottomLeft', 'bottomRight'],
    ...['bodyLeft', 'bodyRight', 'bodyJoin', 'headerJoin', 'joinBody', 'joinLeft', 'joinRight', 'joinJoin'],
    ...['joinMiddleUp', 'joinMiddleDown', 'joinMiddleLeft', 'joinMiddleRight'],
  ].map((key) => [key, '']),
)
