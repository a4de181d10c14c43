import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { DeploymentGoal, ReportBody } from '@edgefit/shared/protocol'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { sqliteDeploymentStore } from '../../../agent/deploy/deployment-store.ts'
import { refusedReports } from '../../../agent/deploy/failure.ts'
import { createSupervisor, type RunSlot, type SupervisorPorts } from '../../../agent/deploy/supervisor.ts'
import { type AgentDatabase, openAgentDatabase } from '../../../agent/store/database.ts'

const artifact = { digest: 'a'.repeat(64), sizeBytes: 1, manifest: { digest: 'b'.repeat(64), sizeBytes: 1 } }
const goal = (deploymentId: string, attempt = 1): DeploymentGoal => ({
  deploymentId,
  rolloutId: 'r1',
  attempt,
  model: { name: 'm', version: 1, task: { kind: 'classification' }, artifact },
  dataset: { name: 'd', version: 1, artifact, split: { seed: 0, calibration: 1, tuning: 1, evaluation: 1 } },
  objective: { latencyP90Ms: 1, minimize: 'latency' },
  search: { budgetS: 1, seed: 0 },
  schedule: { rebenchmarkCron: null, maintenance: null },
})

describe('the supervisor', () => {
  let folder: string
  let database: AgentDatabase
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'edgefit-supervisor-'))
    database = await openAgentDatabase(join(folder, 'state.db'))
  })
  afterEach(async () => {
    await database.destroy()
    await rm(folder, { recursive: true, force: true })
  })

  /** Runs that last until they are aborted, and a note of what happened in which order. */
  function setUp(overrides: Partial<SupervisorPorts> = {}) {
    const events: string[] = []
    const reports: ReportBody[] = []
    const runSlot: RunSlot = ({ slot, goal: { deploymentId, attempt }, record }, signal) => {
      events.push(`begin ${slot} ${deploymentId}/${attempt}${record.downloaded ? ' downloaded' : ''}`)
      return new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => {
          events.push(`end ${slot} ${deploymentId}/${attempt}`)
          reject(new Error('aborted'))
        })
      })
    }
    const store = sqliteDeploymentStore(database, () => 0)
    const supervisor = createSupervisor({
      store,
      runSlot,
      emptySlot: (slot) => Promise.resolve(void events.push(`empty ${slot}`)),
      report: (body) => Promise.resolve(void reports.push(body)),
      onChange: () => Promise.resolve(),
      onError: (slot, error) => events.push(`error ${slot} ${String(error)}`),
      retryMs: 1,
      ...overrides,
    })
    return { supervisor, store, events, reports }
  }

  it('begins new goals, leaves equal ones alone and replaces a run only after it ended', async () => {
    const { supervisor, events } = setUp()
    await supervisor.apply({ main: goal('d1') })
    await supervisor.apply({ main: goal('d1') })
    await supervisor.apply({ main: goal('d2'), other: goal('d3') })
    await supervisor.stop()

    expect(events).toEqual([
      'begin main d1/1',
      'end main d1/1',
      'begin main d2/1',
      'begin other d3/1',
      'end main d2/1',
      'end other d3/1',
    ])
  })

  it('starts afresh on a new attempt of the same deployment', async () => {
    const { supervisor, events } = setUp()
    await supervisor.apply({ main: goal('d1') })
    await supervisor.apply({ main: goal('d1', 2) })
    await supervisor.stop()

    expect(events).toContain('begin main d1/2')
  })

  it('empties a slot that is no longer desired and reports it removed', async () => {
    const { supervisor, events, reports, store } = setUp()
    await supervisor.apply({ main: goal('d1') })
    await supervisor.apply({})
    await supervisor.stop()

    expect(events).toEqual(['begin main d1/1', 'end main d1/1', 'empty main'])
    expect(reports).toMatchObject([{ status: 'removed', deploymentId: 'd1' }])
    expect(await store.all()).toEqual([])
  })

  it('goes on from the record after a restart, and with a new schedule too', async () => {
    const first = setUp()
    await first.supervisor.apply({ main: goal('d1') })
    await first.supervisor.stop()
    const [deployment] = await first.store.all()
    if (deployment === undefined) throw new Error('nothing was stored')
    await first.store.put({ ...deployment, record: { ...deployment.record, downloaded: true } })

    const again = setUp()
    await again.supervisor.start()
    await again.supervisor.apply({
      main: { ...goal('d1'), schedule: { rebenchmarkCron: '0 3 * * *', maintenance: null } },
    })
    await again.supervisor.stop()

    expect(again.events).toEqual([
      'begin main d1/1 downloaded',
      'end main d1/1',
      'begin main d1/1 downloaded',
      'end main d1/1',
    ])
  })

  it('goes on from the record after a fault of the journal', async () => {
    let runs = 0
    const seen: boolean[] = []
    const { supervisor, events, store } = setUp({
      async runSlot({ slot, goal: wanted, record }) {
        seen.push(record.downloaded)
        runs += 1
        if (runs > 1) return
        await store.put({ slot, goal: wanted, record: { ...record, downloaded: true } })
        throw new Error('database or disk is full')
      },
    })

    await supervisor.apply({ main: goal('d1') })
    await expect.poll(() => runs).toBe(2)
    await supervisor.stop()

    expect(seen).toEqual([false, true])
    expect(events).toEqual(['error main Error: database or disk is full'])
  })

  it('works on the other slots where one cannot be emptied, and empties that one later', async () => {
    let tries = 0
    const { supervisor, events, reports } = setUp({
      emptySlot() {
        tries += 1
        return tries > 1 ? Promise.resolve() : Promise.reject(new Error('input/output error'))
      },
    })
    await supervisor.apply({ main: goal('d1') })

    await supervisor.apply({ other: goal('d2') })

    expect(events).toContain('error main Error: input/output error')
    expect(events).toContain('begin other d2/1')
    await expect.poll(() => reports).toMatchObject([{ status: 'removed', deploymentId: 'd1' }])
    await supervisor.stop()
  })

  it('goes on where a record has the shape of another version', async () => {
    const { supervisor, events } = setUp()
    await database
      .insertInto('deployments')
      .values({ slot: 'main', deployment_id: 'd0', goal: '{}', state: '{}', updated_at_ms: 0 })
      .execute()

    await supervisor.start()
    await supervisor.apply({ main: goal('d1') })
    await supervisor.stop()

    expect(events).toEqual(['begin main d1/1', 'end main d1/1'])
  })

  it('refuses a deployment once, and never one that it works on', async () => {
    const { supervisor, reports } = setUp()
    await supervisor.apply({ main: goal('d1') })
    const named = ['d1', 'd2'].map((deploymentId) => ({ slot: 'main', deploymentId, attempt: 1 }))
    const refusal = { code: 'PROTOCOL_UNSUPPORTED', message: 'version 2', deployments: named } as const

    await supervisor.refuse(refusedReports(refusal))
    await supervisor.refuse(refusedReports(refusal))
    await supervisor.stop()

    expect(reports).toMatchObject([{ deploymentId: 'd2', status: 'rejected', reason: 'protocol-unsupported' }])
  })
})
