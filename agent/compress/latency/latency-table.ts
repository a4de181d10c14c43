import { RuntimeSettings } from '@edgefit/shared/model'
import * as z from 'zod'

/** What a table was measured on; what was measured on another box, runtime or number of threads says nothing here. */
export const TableKey = z.strictObject({
  hardwareClass: z.string().min(1),
  runtimeVersion: z.string().min(1),
  runtime: RuntimeSettings,
})
export type TableKey = z.infer<typeof TableKey>

const OperatorTime = z.union([
  z.strictObject({ ms: z.number().nonnegative() }),
  /** Why it has no time: the runtime refused it alone, or it ended the process. */
  z.strictObject({ reason: z.string() }),
])
export type OperatorTime = z.infer<typeof OperatorTime>

/** Times of operators on one box, by their key. */
export const LatencyTable = z.strictObject({
  schemaVersion: z.literal(1),
  key: TableKey,
  /** What a run takes in which nothing is computed; null before it was measured. */
  emptyRunMs: z.number().nonnegative().nullable(),
  operators: z.record(z.string(), OperatorTime),
})
export type LatencyTable = z.infer<typeof LatencyTable>

export function emptyTable(key: TableKey): LatencyTable {
  return { schemaVersion: 1, key, emptyRunMs: null, operators: {} }
}

/** `table` with more times in it. The first empty run stands: what is predicted today has to compare with tomorrow's. */
export function withTimes(
  table: LatencyTable,
  emptyRunMs: number,
  times: Readonly<Record<string, OperatorTime>>,
): LatencyTable {
  return {
    ...table,
    emptyRunMs: table.emptyRunMs ?? emptyRunMs,
    operators: { ...table.operators, ...times },
  }
}
