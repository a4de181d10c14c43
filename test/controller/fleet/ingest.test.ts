import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Measurement } from '@edgefit/shared/model'
import type { Report, ReportBody } from '@edgefit/shared/protocol'
import { encodeHistogram, histogramRecorder } from '@edgefit/shared/stats'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createIngest } from '../../../controller/fleet/ingest.ts'
import { pruneReceivedReports } from '../../../controller/fleet/prune-reports.ts'
import { createCommitQueue } from '../../../controller/store/commit-queue.ts'
import { openStore } from '../../../controller/store/open-store.ts'
import type { ControllerDatabase } from '../../../controller/store/schema.ts'
import {
  batchOf,
  deploymentRow,
  digest,
  insertDevice,
  measurement,
  NOW_MS,
  openFleet,
  report,
  status,
  trial,
} from './fixtures.ts'

const now = () => NOW_MS

/** Everything the reports decide. Times of receipt and row numbers differ with the order of arrival and are left out. */
async function stateOf(db: ControllerDatabase) {
  const deployments = await db.selectFrom('deployments').selectAll().orderBy('id').execute()
  const trials = await db.selectFrom('trials').selectAll().orderBy('trial_id').execute()
  const measurements = await db
    .selectFrom('measurements')
    .innerJoin('latency_histograms', 'latency_histograms.measurement_id', 'measurements.id')
    .selectAll()
    .orderBy('role')
    .orderBy('measured_at_ms')
    .execute()
  return {
    deployments: deployments.map(
      ({ phase_started_at_ms, started_at_ms, last_report_at_ms, ended_at_ms, ...row }) => row,
    ),
    trials,
    measurements: measurements.map(({ id, measurement_id, ...row }) => row),
  }
}

const anyBody: fc.Arbitrary<ReportBody> = fc.oneof(
  fc
    .constantFrom('downloading', 'searching', 'benchmarking', 'activating')
    .map((phase) => status({ phase: phase as 'downloading' })),
  fc.constantFrom('succeeded', 'failed', 'removed').map((ended) =>
    status({
      status: ended as 'succeeded',
      phase: null,
      reason: 'objective-met',
      message: ended,
      outcome: 'activated',
    }),
  ),
  fc.record({ id: fc.integer({ min: 0, max: 3 }), durationMs: fc.integer({ min: 1, max: 9 }) }).map(
    ({ id, durationMs }): ReportBody => ({
      kind: 'trial',
      deploymentId: 'r1-1',
      attempt: 1,
      trial: trial(id, { durationMs }),
    }),
  ),
  fc.record({ winner: fc.integer({ min: 0, max: 3 }), at: fc.integer({ min: 0, max: 3 }) }).map(
    ({ winner, at }): ReportBody => ({
      kind: 'result',
      deploymentId: 'r1-1',
      attempt: 1,
      verdict: 'met',
      baseline: measurement({ measuredAtMs: NOW_MS + at }),
      winner: { trialId: winner, digest: digest(winner), measurement: measurement({ measuredAtMs: NOW_MS + at }) },
      losses: Object.fromEntries(
        [0, 1, 2, 3]
          .filter((id) => id !== winner)
          .map((id) => [id, [{ reason: 'too-slow', detail: `lost to ${winner}` }]]),
      ),
      reasons: [`trial ${winner} won`],
    }),
  ),
  fc.record({ at: fc.integer({ min: 0, max: 2 }), drifted: fc.boolean() }).map(
    ({ at, drifted }): ReportBody => ({
      kind: 'rebenchmark',
      deploymentId: 'r1-1',
      slot: 'default',
      measurement: measurement({ measuredAtMs: NOW_MS + 100 + at }),
      change: { ratio: 1, low: 0.9, high: 1.1 },
      drifted,
    }),
  ),
)

/** One history of a device, and the same reports with repetitions, in any order, cut into batches. */
const history = fc.array(anyBody, { minLength: 1, maxLength: 14 }).chain((bodies) => {
  const reports = bodies.map((body, index) => report(index + 1, body))
  const repeated = fc.array(fc.constantFrom(...reports), { maxLength: 10 })
  return fc.record({
    reports: fc.constant(reports),
    delivered: repeated.chain((more) =>
      fc.shuffledSubarray([...reports, ...more], { minLength: bodies.length + more.length }),
    ),
    batchSize: fc.integer({ min: 1, max: 6 }),
  })
})

describe('createIngest', () => {
  it('reaches the same state whatever the order, repetition and batching of the reports', async () => {
    await fc.assert(
      fc.asyncProperty(history, async ({ reports, delivered, batchSize }) => {
        const inOrder = await ingested([reports])
        const shuffled = await ingested(chunk(delivered, batchSize))
        expect(shuffled).toEqual(inOrder)
      }),
      { numRuns: 60, seed: 7 },
    )
  })

  async function ingested(batches: readonly Report[][]) {
    const db = await openFleet()
    const ingest = createIngest({ commits: createCommitQueue(db), now })
    await Promise.all(batches.map((reports) => ingest.accept('pi-1', batchOf(reports))))
    const state = await stateOf(db)
    await db.destroy()
    return state
  }
})

function chunk<Item>(items: readonly Item[], size: number): Item[][] {
  const chunks: Item[][] = []
  for (let start = 0; start < items.length; start += size) chunks.push(items.slice(start, start + size))
  return chunks
}

describe('a batch of reports', () => {
  let directory: string
  let db: ControllerDatabase
  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'edgefit-ingest-'))
    db = await openFleet(join(directory, 'fleet.db'))
  })
  afterEach(async () => {
    await db.destroy()
    rmSync(directory, { recursive: true, force: true })
  })

  it('is on disk once it is acknowledged, and acknowledged again when it is repeated', async () => {
    const ingest = createIngest({ commits: createCommitQueue(db), now })
    const batch = batchOf([report(4, status({ phase: 'searching' })), report(5, status({ phase: 'staged' }))])

    const seqs = await ingest.accept('pi-1', batch)

    const other = await openStore(join(directory, 'fleet.db'))
    expect((await other.selectFrom('deployments').select('phase').execute()).at(0)).toEqual({ phase: 'staged' })
    await other.destroy()
    expect(seqs).toEqual([4, 5])
    expect(await ingest.accept('pi-1', batch)).toEqual([4, 5])
  })

  it('keeps the histogram apart from the measurement', async () => {
    const ingest = createIngest({ commits: createCommitQueue(db), now })
    const recorder = histogramRecorder()
    recorder.record(5_000_000)
    const histogram = encodeHistogram(recorder.snapshot())
    const body: ReportBody = {
      kind: 'rebenchmark',
      deploymentId: 'r1-1',
      slot: 'default',
      measurement: measurement({ histogram }),
      change: { ratio: 1.3, low: 1.2, high: 1.4 },
      drifted: true,
    }

    await ingest.accept('pi-1', batchOf([report(1, body)]))

    const row = await db.selectFrom('measurements').selectAll().executeTakeFirstOrThrow()
    expect(row).toMatchObject({ role: 'rebenchmark', drifted: 1, p90_bound_ms: 5.2 })
    expect(JSON.parse(row.measurement).histogram).toBe('')
    expect(await db.selectFrom('latency_histograms').select('histogram').execute()).toEqual([{ histogram }])
    expect(await db.selectFrom('events').select('kind').execute()).toEqual([{ kind: 'latency-drifted' }])
  })

  it('leaves both the time-out and the late success in the event log', async () => {
    await db.updateTable('deployments').set({ status: 'timed_out', reason: 'silent' }).execute()
    const ingest = createIngest({ commits: createCommitQueue(db), now })

    await ingest.accept('pi-1', batchOf([report(1, status({ status: 'succeeded', phase: null }))]))

    const [event] = await db.selectFrom('events').selectAll().execute()
    expect(event).toMatchObject({ kind: 'deployment-ended', actor: 'device:pi-1' })
    expect(JSON.parse(event!.data)).toMatchObject({ status: 'succeeded', before: 'timed_out' })
  })

  it('takes the reports of a wiped device, whose sequence starts again', async () => {
    const ingest = createIngest({ commits: createCommitQueue(db), now })
    await ingest.accept('pi-1', batchOf([report(90, status({ phase: 'searching' }))]))

    await ingest.accept('pi-1', batchOf([report(1, status({ phase: 'downloading' }))], 'journal-0002'))

    expect(await db.selectFrom('deployments').select('phase').execute()).toEqual([{ phase: 'downloading' }])
  })

  it('acknowledges a report about an unknown deployment, or that of another device, and changes nothing', async () => {
    await insertDevice(db, 'pi-2')
    const ingest = createIngest({ commits: createCommitQueue(db), now })

    const seqs = await ingest.accept('pi-2', batchOf([report(1, status({ status: 'failed', phase: null }))]))

    expect(seqs).toEqual([1])
    expect(await db.selectFrom('deployments').select('status').execute()).toEqual([{ status: 'queued' }])
    expect(await db.selectFrom('events').select('kind').execute()).toEqual([{ kind: 'report-unmatched' }])
  })

  const result = (changes: Partial<Measurement>, attempt = 1): ReportBody => ({
    kind: 'result',
    deploymentId: 'r1-1',
    attempt,
    verdict: 'met',
    baseline: measurement(),
    winner: { trialId: 1, digest: digest(7), measurement: measurement(changes) },
    losses: {},
    reasons: [],
  })
  const rebenchmark = (measuredAtMs: number): ReportBody => ({
    kind: 'rebenchmark',
    deploymentId: 'r1-1',
    slot: 'default',
    measurement: measurement({ measuredAtMs }),
    change: { ratio: 1, low: 0.9, high: 1.1 },
    drifted: false,
  })

  it.each<[string, ReportBody, RegExp]>([
    ['an attempt to come', result({}, 2), /attempt 2 was never asked for/],
    [
      'a trial without end',
      { kind: 'trial', deploymentId: 'r1-1', attempt: 1, trial: trial(2 ** 40) },
      /at most 10000/,
    ],
    ['a latency below zero', result({ latencyMs: { p50: 1, p90: -2, p99: 3, p90Bound: 2, count: 9 } }), /p90: -2/],
    [
      'a variant infinitely fast',
      result({
        againstBaseline: { latencyRatio: { ratio: 0, low: 0, high: 1 }, sqnrDb: null, paired: null, difference: null },
      }),
      /latencyRatio.ratio: 0/,
    ],
    ['a histogram that is none', result({ histogram: 'AAAA' }), /histogram/],
  ])('keeps nothing of %s but an event, and is acknowledged', async (_, body, fault) => {
    const ingest = createIngest({ commits: createCommitQueue(db), now })

    expect(await ingest.accept('pi-1', batchOf([report(1, body)]))).toEqual([1])

    expect(await db.selectFrom('measurements').select('id').execute()).toEqual([])
    expect(await db.selectFrom('trials').select('trial_id').execute()).toEqual([])
    const [event] = await db.selectFrom('events').selectAll().execute()
    expect(event).toMatchObject({ kind: 'report-refused', subject: 'deployment:r1-1' })
    expect(event?.data).toMatch(fault)
  })

  it('leaves a hundred events an hour of a device that never stops', async () => {
    let nowMs = NOW_MS
    const ingest = createIngest({ commits: createCommitQueue(db), now: () => nowMs })
    const notices = (from: number) =>
      Array.from({ length: 150 }, (_, n) => report(from + n, { kind: 'notice', code: 'disk', message: 'full' }))

    await ingest.accept('pi-1', batchOf(notices(1)))
    expect(await db.selectFrom('events').select('id').execute()).toHaveLength(100)

    nowMs += 3_600_000
    await ingest.accept('pi-1', batchOf(notices(1001)))
    expect(await db.selectFrom('events').select('id').execute()).toHaveLength(200)
  })

  it('keeps the newest thousand of ever more re-benchmarks', async () => {
    const ingest = createIngest({ commits: createCommitQueue(db), now })
    const bodies = Array.from({ length: 1_003 }, (_, n) => report(n + 1, rebenchmark(NOW_MS + n)))

    await ingest.accept('pi-1', batchOf(bodies))

    const kept = await db.selectFrom('measurements').select('measured_at_ms').orderBy('id').execute()
    expect(kept).toHaveLength(1_000)
    expect(kept.at(0)?.measured_at_ms).toBe(NOW_MS + 3)
    expect(await db.selectFrom('latency_histograms').select('measurement_id').execute()).toHaveLength(1_000)
  })

  it('is not taken from a device that begins journals without end', async () => {
    await db
      .insertInto('journals')
      .values(Array.from({ length: 1_000 }, (_, rank) => ({ device_id: 'pi-1', journal: `journal-${rank}x`, rank })))
      .execute()
    const ingest = createIngest({ commits: createCommitQueue(db), now })

    await expect(ingest.accept('pi-1', batchOf([report(1, status())], 'one-too-many'))).rejects.toMatchObject({
      code: 'CONFLICT',
    })
  })

  it('changes nothing when it comes again after it was forgotten', async () => {
    let nowMs = NOW_MS
    const ingest = createIngest({ commits: createCommitQueue(db), now: () => nowMs })
    const batch = batchOf([
      report(1, status({ phase: 'searching' })),
      report(2, result({})),
      report(3, rebenchmark(NOW_MS)),
    ])
    await ingest.accept('pi-1', batch)
    nowMs += 29 * 86_400_000
    await pruneReceivedReports(db, nowMs)
    expect(await db.selectFrom('received_reports').selectAll().execute()).toHaveLength(3)
    const before = await stateOf(db)

    nowMs += 2 * 86_400_000
    await pruneReceivedReports(db, nowMs)
    expect(await db.selectFrom('received_reports').selectAll().execute()).toEqual([])
    await ingest.accept('pi-1', batch)

    expect(await stateOf(db)).toEqual(before)
  })

  it('refuses a device that is not accepted without holding up the others', async () => {
    await insertDevice(db, 'stranger', { state: 'pending' })
    const ingest = createIngest({ commits: createCommitQueue(db), now })

    const [refused, taken] = await Promise.allSettled([
      ingest.accept('stranger', batchOf([report(1, status())])),
      ingest.accept('pi-1', batchOf([report(1, status())])),
    ])

    expect(refused).toMatchObject({ status: 'rejected', reason: { code: 'AUTH_REFUSED' } })
    expect(taken).toMatchObject({ status: 'fulfilled', value: [1] })
  })

  it('shares a commit between the devices that report at once', async () => {
    for (let n = 2; n <= 40; n += 1) {
      await insertDevice(db, `pi-${n}`)
      await db
        .insertInto('deployments')
        .values(deploymentRow({ id: `r1-${n}`, device_id: `pi-${n}` }))
        .execute()
    }
    const ingest = createIngest({ commits: createCommitQueue(db), now })

    await Promise.all(
      Array.from({ length: 40 }, (_, n) =>
        ingest.accept(`pi-${n + 1}`, batchOf([report(1, status({ deploymentId: `r1-${n + 1}` }))])),
      ),
    )

    const rows = await db.selectFrom('deployments').select('status').execute()
    expect(rows.filter((row) => row.status === 'in_progress')).toHaveLength(40)
  })
})
