import type { ControllerDatabase } from '../store/schema.ts'

const KEPT_MS = 30 * 24 * 3_600_000
const ROWS_AT_ONCE = 5_000

/**
 * Forgets which reports were met long ago, a part at a time; call it now and then. Should a device that was away all
 * the while send one again, its position keeps it from changing anything: only an event may be told twice.
 */
export async function pruneReceivedReports(db: ControllerDatabase, nowMs: number): Promise<void> {
  await db
    .deleteFrom('received_reports')
    .where('rowid', 'in', (old) =>
      // In the order of receipt: the rest need not be looked at.
      old.selectFrom('received_reports').select('rowid').orderBy('rowid').limit(ROWS_AT_ONCE),
    )
    .where('received_at_ms', '<', nowMs - KEPT_MS)
    .execute()
}
