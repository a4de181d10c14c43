export { LatencyReport, ReportFilters } from './latency-report.ts'
export { queryLatencyReport } from './query.ts'
export { renderLatencyHtml } from './render-html.ts'
export { renderLatencyTerminal } from './render-terminal.ts'
