import { distributionOf } from './distribution.ts'
import type { StoredMeasurement } from './evidence.ts'
import { groupBy } from './group-by.ts'
import type { LatencyGroup, LatencyRow, Verdict } from './latency-report.ts'

export interface MeasuredRow {
  readonly row: LatencyRow
  readonly baseline: StoredMeasurement | undefined
  /** The variant's latest measurement: each device counts once, however often it was measured again. */
  readonly latest: StoredMeasurement | undefined
}

/** Sums up what may be summed up: one model version on boxes of one hardware class. Largest group first. */
export function groupRows(measured: readonly MeasuredRow[]): LatencyGroup[] {
  const groups = groupBy(
    measured.filter(({ row }) => row.model !== null && row.device.hardwareClass !== null),
    ({ row }) => JSON.stringify([row.device.hardwareClass, row.model?.name, row.model?.version]),
  )
  return [...groups.values()].flatMap(summarize).sort((a, b) => b.devices - a.devices)
}

export function countVerdicts(rows: readonly LatencyRow[]): Partial<Record<Verdict, number>> {
  return Object.fromEntries(
    [...groupBy(rows, ({ verdict }) => verdict)].map(([verdict, { length }]) => [verdict, length]),
  )
}

function summarize(members: readonly MeasuredRow[]): LatencyGroup[] {
  const rows = members.map(({ row }) => row)
  const model = rows[0]?.model
  const hardwareClass = rows[0]?.device.hardwareClass
  if (!model || !hardwareClass) return []
  const labels = groupBy(
    rows.flatMap(({ variant }) => variant?.label ?? []),
    (label) => label,
  )
  return [
    {
      hardwareClass,
      cpuModel: rows.find(({ device }) => device.cpuModel !== null)?.device.cpuModel ?? 'unknown CPU',
      model,
      devices: new Set(rows.map(({ device }) => device.id)).size,
      verdicts: countVerdicts(rows),
      budgetsP90Ms: [...new Set(rows.flatMap(({ objective }) => objective?.latencyP90Ms ?? []))].sort((a, b) => a - b),
      baseline: distributionOf(members.flatMap(({ baseline }) => baseline?.histogram ?? [])),
      variant: distributionOf(members.flatMap(({ latest }) => latest?.histogram ?? [])),
      recipes: [...labels]
        .map(([label, { length }]) => ({ label, devices: length }))
        .sort((a, b) => b.devices - a.devices || (a.label < b.label ? -1 : 1)),
    },
  ]
}
