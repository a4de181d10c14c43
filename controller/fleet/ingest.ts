import { EdgefitError } from '@edgefit/shared'
import type { ReportBatch } from '@edgefit/shared/protocol'
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
  /** Resolves when nothing is waiting any more. */
  drain(): Promise<void>
}

export interface IngestOptions {
  readonly db: ControllerDatabase
  readonly now: () => number
}

interface Waiting {
  readonly device: string
  readonly batch: ReportBatch
  readonly resolve: (seqs: readonly number[]) => void
  readonly reject: (error: unknown) => void
}

const MAX_WAITING_BATCHES = 5000
const BATCHES_PER_COMMIT = 200

/**
 * Invariants: what `accept` has resolved is on disk; batches that arrive while one commit is under way share the
 * next, so a fleet costs few fsyncs; a batch that fails takes no other with it.
 */
export function createIngest({ db, now }: IngestOptions): Ingest {
  const waiting: Waiting[] = []
  let running: Promise<void> | undefined

  async function run(): Promise<void> {
    while (waiting.length > 0) {
      const batches = waiting.splice(0, BATCHES_PER_COMMIT)
      try {
        await commit(batches)
        for (const { batch, resolve } of batches) resolve(batch.reports.map((report) => report.seq))
      } catch {
        for (const each of batches) await commitAlone(each)
      }
    }
    running = undefined
  }

  async function commitAlone(each: Waiting): Promise<void> {
    try {
      await commit([each])
      each.resolve(each.batch.reports.map((report) => report.seq))
    } catch (error) {
      each.reject(error)
    }
  }

  async function commit(batches: readonly Waiting[]): Promise<void> {
    await db.transaction().execute(async (trx) => {
      for (const { device, batch } of batches) await applyBatch(trx, device, batch, now())
    })
  }

  return {
    accept(device, batch) {
      if (waiting.length >= MAX_WAITING_BATCHES)
        return Promise.reject(
          new EdgefitError('too many reports are waiting to be stored; the device sends this one again', {
            code: 'UNAVAILABLE',
            details: { device },
          }),
        )
      return new Promise((resolve, reject) => {
        waiting.push({ device, batch, resolve, reject })
        running ??= run()
      })
    },
    async drain() {
      while (running !== undefined) await running
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
