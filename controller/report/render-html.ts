import { html } from './html.ts'
import { deviceDetail } from './html-detail.ts'
import { deviceTables } from './html-devices.ts'
import { groupCards } from './html-groups.ts'
import { STYLE } from './html-style.ts'
import { verdictTally } from './html-verdict.ts'
import type { LatencyReport, LatencyRow } from './latency-report.ts'
import { filterWords, headline, utcMinute } from './words.ts'

/** The report as one page that needs nothing else: no script, no request, to be mailed, archived or printed. */
export function renderLatencyHtml(report: LatencyReport): string {
  const { rows, groups, generatedAtMs, filters } = report
  const ids = new Map(rows.map((row, index) => [row, `r${index}`]))
  const detailed = rows.flatMap((row) =>
    row.detail !== null && row.detail.trials.length > 0 ? [{ row, detail: row.detail, id: ids.get(row) ?? '' }] : [],
  )
  const linkOf = (row: LatencyRow) => detailed.find((one) => one.row === row)?.id
  const filtered = filterWords(filters)
  const alone = rows.length === 1 && detailed.length === 1
  const devices =
    rows.length === 0 || alone ? undefined : html`<section><h2>Devices</h2>${deviceTables(rows, linkOf)}</section>`
  // Of a single row its class could only repeat what the row says.
  const classes =
    rows.length < 2 || groups.length === 0
      ? undefined
      : html`<section><h2>By hardware class</h2>${groupCards(groups)}</section>`
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${`Latency report${filtered === '' ? '' : `, ${filtered}`}`}</title>
${STYLE}
</head>
<body>
<header>
  <h1>Latency report</h1>
  <p class="lede">${headline(rows).met}</p>
  <p class="meta"><time datetime="${new Date(generatedAtMs).toISOString()}">${utcMinute(generatedAtMs)}</time>${filtered === '' ? '' : ` · ${filtered}`}</p>
  ${verdictTally(report)}
</header>
<main>
  ${detailed.length > 0 ? [devices, classes] : [classes, devices]}
  ${detailed.length === 0 ? undefined : html`<section><h2>In detail</h2>${detailed.map(({ row, detail, id }) => deviceDetail(row, detail, id, generatedAtMs))}</section>`}
</main>
<footer>
  <p>P90 ≤: nine runs in ten take at most this long, with 99 % confidence (the early-stopping estimate of MLPerf). Budgets are judged by it. An accuracy floor must be held with 95 % confidence, so a trial just above it can still lose.</p>
  <p>Speed-up is fp32's latency over the variant's, from runs in turns on the same device. Sums over devices add up their runs; percentiles are never averaged.</p>
  ${detailed.length === 0 && rows.length > 0 ? html`<p>Trials are left out of reports of this many rows: ask for one device with --device.</p>` : undefined}
</footer>
</body>
</html>
`
  return page.markup
}
