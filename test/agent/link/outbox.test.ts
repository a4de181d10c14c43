import { join } from 'node:path'
import type { ReportBody, StatusReport } from '@edgefit/shared/protocol'
import Database from 'better-sqlite3'
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { createOutbox, type Outbox } from '../../../agent/link/outbox.ts'
import { type AgentDatabase, openAgentDatabase } from '../../../agent/store/database.ts'
import { temporaryFolder } from '../../support/link.ts'
import { measurement } from '../../support/measurements.ts'

let path: string
let db: AgentDatabase
let outbox: Outbox

beforeEach(async () => {
  path = join(await temporaryFolder(), 'agent.sqlite')
  await reopen()
})

async function reopen(): Promise<void> {
  const opened = await openAgentDatabase(path)
  onTestFinished(() => opened.destroy())
  db = opened
  outbox = await createOutbox(db, { now: () => 7 })
}

const notice = (message: string): ReportBody => ({ kind: 'notice', code: 'test', message })
function status(over: Partial<StatusReport> = {}): StatusReport {
  return {
    kind: 'status',
    deploymentId: 'd-1',
    attempt: 1,
    slot: 'vision',
    status: 'in_progress',
    phase: 'searching',
    reason: null,
    message: null,
    outcome: null,
    running: null,
    progress: null,
    ...over,
  }
}
const succeeded = status({ status: 'succeeded', phase: null, reason: 'objective-met', outcome: 'activated' })
const seqs = async () => (await outbox.pending(1e9)).map(({ seq }) => seq)

describe('the outbox', () => {
  it('gives back what was added, in order, with its time', async () => {
    await outbox.add(notice('first'))
    await outbox.add(succeeded)

    expect(await outbox.pending(1e9)).toEqual([
      { seq: 1, atMs: 7, body: notice('first') },
      { seq: 2, atMs: 7, body: succeeded },
    ])
  })

  it('has a report on disk when add resolves, also for another process', async () => {
    await outbox.add(notice('first'))

    const other = new Database(path, { readonly: true })
    onTestFinished(() => void other.close())

    expect(other.prepare('select count(*) as count from outbox').get()).toEqual({ count: 1 })
  })

  it('keeps its journal and its reports over a restart', async () => {
    const { journal } = outbox
    await outbox.add(notice('first'))
    await db.destroy()

    await reopen()

    expect(outbox.journal).toBe(journal)
    expect(await seqs()).toEqual([1])
  })

  it('never gives a number twice, not even after everything was acknowledged and a restart', async () => {
    await outbox.add(notice('first'))
    await outbox.add(notice('second'))
    await outbox.acknowledge(outbox.journal, [1, 2])
    await db.destroy()
    await reopen()

    expect(await outbox.add(notice('third'))).toBe(3)
  })

  it('forgets what is acknowledged, in any order, any number of times', async () => {
    for (const message of ['a', 'b', 'c', 'd']) await outbox.add(notice(message))

    await outbox.acknowledge(outbox.journal, [3])
    await outbox.acknowledge(outbox.journal, [3, 1, 99])
    await outbox.acknowledge(outbox.journal, [])

    expect(await seqs()).toEqual([2, 4])
  })

  it('ignores an acknowledgement for another journal', async () => {
    await outbox.add(notice('first'))

    await outbox.acknowledge('the journal before the wipe', [1])

    expect(await seqs()).toEqual([1])
  })

  it('cuts batches by size, but never to nothing', async () => {
    for (let index = 0; index < 10; index += 1) await outbox.add(notice('x'.repeat(1_000)))

    expect(await outbox.pending(5_000)).toHaveLength(4)
    expect(await outbox.pending(1)).toHaveLength(1)
  })

  it('tells its listener of every report', async () => {
    let count = 0
    outbox.onAdded(() => {
      count += 1
    })

    await outbox.add(notice('first'))
    await outbox.add(notice('second'))

    expect(count).toBe(2)
  })

  it('drops a report that another version of the agent wrote and this one cannot read', async () => {
    await db.insertInto('outbox').values({ at_ms: 0, body: '{"kind":"telepathy"}' }).execute()
    await outbox.add(notice('readable'))

    expect(await seqs()).toEqual([2])
  })
})

describe('a box that is offline for long', () => {
  it('keeps the newest progress of each phase only', async () => {
    const trials = (trialsDone: number) => status({ progress: { trialsDone } })
    await outbox.add(status({ phase: 'downloading' }))
    for (let done = 1; done <= 50; done += 1) await outbox.add(trials(done))
    await outbox.add(status({ phase: 'benchmarking' }))

    const kept = (await outbox.pending(1e9)).map(({ body }) => body)

    expect(kept).toEqual([status({ phase: 'downloading' }), trials(50), status({ phase: 'benchmarking' })])
  })

  it('never drops a terminal status, nor the progress of another deployment, attempt or slot', async () => {
    const others = [
      succeeded,
      status({ deploymentId: 'd-2' }),
      status({ attempt: 2 }),
      status({ slot: 'audio' }),
      status({ status: 'queued', phase: null }),
    ]
    for (const body of others) await outbox.add(body)
    await outbox.add(succeeded)
    await outbox.add(status())

    expect(await seqs()).toEqual([1, 2, 3, 4, 5, 6, 7])
  })

  it('drops its oldest notices beyond a bound, and nothing else', async () => {
    await outbox.add(succeeded)
    const rows = Array.from({ length: 2_000 }, (_, index) => ({ at_ms: 0, body: JSON.stringify(notice(`${index}`)) }))
    for (let start = 0; start < rows.length; start += 500)
      await db
        .insertInto('outbox')
        .values(rows.slice(start, start + 500))
        .execute()

    await outbox.add(notice('newest'))

    const { count } = await db
      .selectFrom('outbox')
      .select((build) => build.fn.countAll().as('count'))
      .executeTakeFirstOrThrow()
    expect(count).toBe(2_001)
    expect((await outbox.pending(1_000)).map(({ seq }) => seq).slice(0, 2)).toEqual([1, 3])
  })
})

describe('add refuses', () => {
  it('a malformed report, naming the field', async () => {
    await expect(outbox.add({ ...status(), attempt: 0 })).rejects.toMatchObject({
      code: 'PROTOCOL_INVALID',
      message: expect.stringContaining('attempt'),
    })
  })

  it('a report that would not fit in a message, with a remedy', async () => {
    const result: ReportBody = {
      kind: 'result',
      deploymentId: 'd-1',
      attempt: 1,
      verdict: 'infeasible',
      baseline: measurement({ p90BoundMs: 10 }),
      winner: null,
      losses: {},
      reasons: ['x'.repeat(100_000)],
    }

    await expect(outbox.add(result)).rejects.toMatchObject({
      code: 'PROTOCOL_INVALID',
      message: expect.stringMatching(/kind result: \d+ bytes, .* as an artifact/),
    })
    expect(await seqs()).toEqual([])
  })
})
