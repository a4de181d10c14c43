import { EdgefitError } from '@edgefit/shared'
import type { ReportBatch } from '@edgefit/shared/protocol'
import type { CommitQueue } from '../store/commit-queue.ts'
import type { ControllerDatabase } from '../store/schema.ts'
import { applyReport } from './apply-report.ts'
import { findDevice } from './device-registry.ts'
import { journalRank, reportPosition } from './report-position.ts'

export interface Ingest {
  /**
   * Commits a batch and gives the sequence numbers to acknowledge: all of them, those met before included.
   *
   * @throws EdgefitError AUTH_REFUSED for a device that is not accepted; UNAVAILABLE where too much is waiting. The
   * device sends what is not acknowledged again.
   */
  accept(device: string, batch: ReportBatch): Promise<readonly number[]>
}

export interface IngestOptions {
  readonly commits: CommitQueue
  readonly now: () => number
}

const MAX_WAITING_BATCHES = 5000

export function createIngest({ commits, now }: IngestOptions): Ingest {
  let waiting = 0
  return {
    async accept(device, batch) {
      if (waiting >= MAX_WAITING_BATCHES)
        throw new EdgefitError('too many reports are waiting to be stored; the device sends this one again', {
          code: 'UNAVAILABLE',
          details: { device },
        })
      waiting += 1
      try {
        await commits.run((trx) => applyBatch(trx, device, batch, now()))
      } finally {
        waiting -= 1
      }
      return batch.reports.map((report) => report.seq)
    },
  }
}

async function applyBatch(db: ControllerDatabase, deviceId: string, batch: ReportBatch, nowMs: number): Promise<void> {
  const device = await findDevice(db, deviceId)
  if (device?.state !== 'accepted')
    throw new EdgefitError(`device "${deviceId}" is not accepted: its reports are not taken`, {
      code: 'AUTH_REFUSED',
      details: { device: deviceId },
    })
  const rank = await journalRank(db, deviceId, batch.journal)
  for (const report of batch.reports) {
    const position = reportPosition(rank, report.seq)
    const { numInsertedOrUpdatedRows } = await db
      .insertInto('received_reports')
      .values({ device_id: deviceId, position, received_at_ms: nowMs })
      .onConflict((conflict) => conflict.doNothing())
      .executeTakeFirst()
    if (numInsertedOrUpdatedRows === 1n) await applyReport({ db, device, position, nowMs }, report)
  }
  await db.updateTable('devices').set({ last_seen_ms: nowMs }).where('id', '=', deviceId).execute()
}
