import { printable } from '../report/printable.ts'
import { compactTable, type TableColumn } from '../report/terminal-table.ts'
import { type Paint, painter } from '../report/terminal-text.ts'
import type { CliIo } from './io.ts'

const WIDTH_ELSEWHERE = 160

/** The one document of a verb: JSON with `--json`, else the text for people. */
export function print(io: CliIo, json: boolean | undefined, value: unknown, text: () => string): void {
  io.stdout.write(`${json === true ? JSON.stringify(value, null, 2) : text()}\n`)
}

/** Colours on a terminal only. */
export function paintFor({ stdout }: CliIo): Paint {
  return painter(stdout.isTTY === true && stdout.hasColors())
}

/** A table with a heading, as wide as the terminal. Cells come from devices: what would move the cursor is replaced. */
export function formatTable(
  io: CliIo,
  headings: readonly (string | ({ readonly name: string } & TableColumn))[],
  rows: readonly (readonly string[])[],
): string {
  const paint = paintFor(io)
  const columns = headings.map((heading) => (typeof heading === 'string' ? {} : heading))
  const names = headings.map((heading) => paint('bold', typeof heading === 'string' ? heading : heading.name))
  const cells = rows.map((row) => row.map((cell) => printable(cell)))
  return compactTable(columns, [names, ...cells], io.stdout.columns ?? WIDTH_ELSEWHERE)
}

/** `name   value` lines; rows without a value are left out. */
export function formatFacts(io: CliIo, facts: readonly (readonly [string, string | null | undefined])[]): string {
  const paint = paintFor(io)
  const rows = facts.flatMap(([name, value]) => (value ? [[paint('dim', name), printable(value)]] : []))
  return compactTable([{}, { shrinksTo: 20 }], rows, io.stdout.columns ?? WIDTH_ELSEWHERE)
}

/** As the catalog's verbs take it. */
export function versionText({ name, version }: { readonly name: string; readonly version: number }): string {
  return `${name}@${version}`
}

export function labelsText(labels: Readonly<Record<string, string>>): string {
  return Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .join(', ')
}
