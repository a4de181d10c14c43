import type { ControllerDatabase } from '../store/schema.ts'
import { checkFilters } from './check-filters.ts'
import { loadDetail } from './detail.ts'
import { loadEvidence } from './evidence.ts'
import { countVerdicts, groupRows } from './groups.ts'
import { DETAILED_ROWS, type LatencyReport, type LatencyRow, type ReportFilters, VERDICTS } from './latency-report.ts'
import { reportRow } from './rows.ts'
import { loadServing } from './serving.ts'
import { loadSlots } from './slots.ts'

/**
 * The latency report of the devices that all `filters` name, worst verdict first.
 *
 * @throws EdgefitError NOT_FOUND where a filter names nothing; the message lists what there is.
 */
export async function queryLatencyReport(
  db: ControllerDatabase,
  filters: ReportFilters,
  nowMs: number,
): Promise<LatencyReport> {
  await checkFilters(db, filters)
  const slots = await loadSlots(db, filters)
  const [evidenceOf, servingOf] = await Promise.all([
    loadEvidence(
      db,
      slots.flatMap(({ deployment }) => deployment?.row ?? []),
    ),
    loadServing(db, slots),
  ])
  const measured = slots.map((slot) => {
    const id = slot.deployment?.row.id ?? ''
    const evidence = evidenceOf.get(id)
    const row = reportRow({ slot, evidence, serving: servingOf.get(id) ?? null, nowMs })
    return { slot, row, baseline: evidence?.baseline, latest: evidence?.lastRebenchmark ?? evidence?.winner }
  })
  const detailed = measured.length <= DETAILED_ROWS
  const rows = await Promise.all(
    measured.map(async ({ slot: { deployment }, row }) =>
      detailed && deployment ? { ...row, detail: await loadDetail(db, deployment.row) } : row,
    ),
  )
  return {
    schemaVersion: 1,
    generatedAtMs: nowMs,
    filters,
    verdicts: countVerdicts(rows),
    rows: rows.sort(byVerdictThenName),
    groups: groupRows(measured),
  }
}

function byVerdictThenName(a: LatencyRow, b: LatencyRow): number {
  const difference = VERDICTS.indexOf(a.verdict) - VERDICTS.indexOf(b.verdict)
  if (difference !== 0) return difference
  return naturalOrder.compare(a.device.id, b.device.id) || naturalOrder.compare(a.slot ?? '', b.slot ?? '')
}

const naturalOrder = new Intl.Collator('en', { numeric: true })
