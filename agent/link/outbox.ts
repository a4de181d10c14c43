import { randomUUID } from 'node:crypto'
import { EdgefitError, parseWith } from '@edgefit/shared'
import { isTerminal } from '@edgefit/shared/model'
import { MAX_SIGNED_BYTES, type Report, ReportBody, type StatusReport } from '@edgefit/shared/protocol'
import { type Kysely, sql } from 'kysely'
import type { AgentDatabase, AgentTables } from '../store/database.ts'

export interface Outbox {
  /** Names this journal for the controller; made once per database. */
  readonly journal: string
  /**
   * Committed when the promise resolves, to a sequence number that is never used again.
   *
   * @throws EdgefitError PROTOCOL_INVALID where the report is malformed or too long; DISK_FULL.
   */
  add(body: ReportBody): Promise<number>
  /** The oldest reports that are not acknowledged, at most `limitBytes` together but at least one. */
  pending(limitBytes: number): Promise<readonly Report[]>
  /** Forgets what the controller has committed. Unknown numbers and other journals are no fault: acks come twice. */
  acknowledge(journal: string, seqs: readonly number[]): Promise<void>
  /** Called after each report that was added. */
  onAdded(listener: () => void): void
}

/** A report with the batch around it has to fit in one signed message. */
const MAX_REPORT_BYTES = MAX_SIGNED_BYTES - 1024
/** What a box that is offline for long may drop, oldest first: nobody's decision depends on it. */
const DROPPABLE_KINDS: readonly ReportBody['kind'][] = ['notice', 'rebenchmark']
const MAX_DROPPABLE = 2_000
const MAX_ROWS_PER_BATCH = 500

/**
 * The journal of what the controller has to learn. Invariants: results, trials and terminal statuses stay until
 * acknowledged; of a deployment's progress only the newest report per phase is kept; notices and re-benchmarks are
 * bounded in number. So a box may be offline for weeks without filling its disk.
 */
export async function createOutbox(db: AgentDatabase, { now }: { readonly now: () => number }): Promise<Outbox> {
  const journal = await journalOf(db)
  let onAdded: (() => void) | undefined

  async function insert(trx: Kysely<AgentTables>, body: ReportBody): Promise<number> {
    const row = { at_ms: now(), body: JSON.stringify(body) }
    const { seq } = await trx.insertInto('outbox').values(row).returning('seq').executeTakeFirstOrThrow()
    return seq
  }

  return {
    journal,
    async add(unchecked) {
      const body = parseWith(ReportBody, unchecked, 'report', 'PROTOCOL_INVALID')
      assertReportSize(body)
      const seq = await orDiskFull(
        db.transaction().execute(async (trx) => {
          if (body.kind === 'status' && !isTerminal(body.status)) await dropSuperseded(trx, body)
          if (DROPPABLE_KINDS.includes(body.kind)) await dropSurplus(trx)
          return await insert(trx, body)
        }),
      )
      onAdded?.()
      return seq
    },
    async pending(limitBytes) {
      const rows = await db.selectFrom('outbox').selectAll().orderBy('seq').limit(MAX_ROWS_PER_BATCH).execute()
      const reports: Report[] = []
      let sizeBytes = 0
      for (const { seq, at_ms, body } of rows) {
        sizeBytes += Buffer.byteLength(body) + 64
        if (reports.length > 0 && sizeBytes > limitBytes) break
        const parsed = ReportBody.safeParse(JSON.parse(body))
        // Written by another version of the agent: keeping it would hold up all that follows.
        if (parsed.success) reports.push({ seq, atMs: at_ms, body: parsed.data })
        else await db.deleteFrom('outbox').where('seq', '=', seq).execute()
      }
      return reports
    },
    async acknowledge(ofJournal, seqs) {
      if (ofJournal !== journal || seqs.length === 0) return
      await db
        .deleteFrom('outbox')
        .where('seq', 'in', [...seqs])
        .execute()
    },
    onAdded(listener) {
      onAdded = listener
    },
  }
}

async function journalOf(db: AgentDatabase): Promise<string> {
  const row = { key: 'outbox.journal', value: randomUUID() }
  await db
    .insertInto('facts')
    .values(row)
    .onConflict((conflict) => conflict.doNothing())
    .execute()
  const { value } = await db.selectFrom('facts').select('value').where('key', '=', row.key).executeTakeFirstOrThrow()
  return value
}

/** An older report of progress in the same phase tells nothing that the new one does not. */
async function dropSuperseded(trx: Kysely<AgentTables>, status: StatusReport): Promise<void> {
  const { deploymentId, attempt, slot, status: state, phase } = status
  await trx
    .deleteFrom('outbox')
    .where(sql<boolean>`body ->> 'kind' = 'status'`)
    .where(sql<boolean>`body ->> 'deploymentId' = ${deploymentId}`)
    .where(sql<boolean>`body ->> 'attempt' = ${attempt}`)
    .where(sql<boolean>`body ->> 'slot' = ${slot}`)
    .where(sql<boolean>`body ->> 'status' = ${state}`)
    .where(sql<boolean>`body ->> 'phase' is ${phase}`)
    .execute()
}

async function dropSurplus(trx: Kysely<AgentTables>): Promise<void> {
  const droppable = trx
    .selectFrom('outbox')
    .select('seq')
    .where(sql<boolean>`body ->> 'kind' in (${sql.join(DROPPABLE_KINDS)})`)
    .orderBy('seq', 'desc')
    .offset(MAX_DROPPABLE - 1)
    .limit(-1)
  await trx.deleteFrom('outbox').where('seq', 'in', droppable).execute()
}

function assertReportSize(body: ReportBody): void {
  const sizeBytes = Buffer.byteLength(JSON.stringify(body))
  if (sizeBytes > MAX_REPORT_BYTES)
    throw new EdgefitError(
      `report of kind ${body.kind}: ${sizeBytes} bytes, at most ${MAX_REPORT_BYTES} fit; send the bulk as an artifact`,
      { code: 'PROTOCOL_INVALID', details: { sizeBytes, limitBytes: MAX_REPORT_BYTES } },
    )
}

async function orDiskFull<Value>(write: Promise<Value>): Promise<Value> {
  try {
    return await write
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'SQLITE_FULL')
      throw new EdgefitError('the journal cannot grow: free some space on the disk of the state folder', {
        code: 'DISK_FULL',
        cause: error,
      })
    throw error
  }
}
