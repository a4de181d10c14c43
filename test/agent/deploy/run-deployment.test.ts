import { EdgefitError } from '@edgefit/shared'
import type { Trial } from '@edgefit/shared/model'
import type { DeploymentGoal, ReportBody, StatusReport } from '@edgefit/shared/protocol'
import { describe, expect, it } from 'vitest'
import { type DeploymentRecord, newRecord, type SearchResult } from '../../../agent/deploy/record.ts'
import { type DeploymentWork, runDeployment } from '../../../agent/deploy/run-deployment.ts'
import { measurement, recipe } from '../../support/measurements.ts'

const artifact = { digest: 'a'.repeat(64), sizeBytes: 1, manifest: { digest: 'b'.repeat(64), sizeBytes: 1 } }
const goal: DeploymentGoal = {
  deploymentId: 'd1',
  rolloutId: 'r1',
  attempt: 1,
  model: { name: 'm', version: 1, task: { kind: 'classification' }, artifact },
  dataset: { name: 'd', version: 1, artifact, split: { seed: 0, calibration: 1, tuning: 1, evaluation: 1 } },
  objective: { latencyP90Ms: 1, minimize: 'latency' },
  search: { budgetS: 1, seed: 0 },
  schedule: { rebenchmarkCron: null, maintenance: null },
}
const found: SearchResult = {
  verdict: 'met',
  undecided: false,
  reasons: ['it fits'],
  winner: {
    trialId: 1,
    digest: 'c'.repeat(64),
    sizeBytes: 1,
    recipe: recipe('a'),
    recipeDigest: 'd'.repeat(64),
    measurement: measurement({ p90BoundMs: 1 }),
  },
}

function bench(overrides: Partial<DeploymentWork> = {}, windows: readonly boolean[] = [], theGoal = goal) {
  const calls: string[] = []
  const reports: StatusReport[] = []
  const saved: DeploymentRecord[] = []
  const open = [...windows]
  const note = (name: string) => {
    calls.push(name)
    return Promise.resolve()
  }
  const work: DeploymentWork = {
    download: () => note('download'),
    verify: () => note('verify'),
    search: async () => {
      await note('search')
      return found
    },
    stage: async () => {
      await note('stage')
      return 'v1'
    },
    activate: () => note('activate'),
    confirm: () => note('confirm'),
    rollBack: async () => {
      await note('rollBack')
      return true
    },
    serving: () => Promise.resolve('v1'),
    running: () => Promise.resolve(null),
    ...overrides,
  }
  const keep = (body: ReportBody) => {
    if (body.kind === 'status') reports.push(body)
    return Promise.resolve()
  }
  const ports = {
    work,
    save: (record: DeploymentRecord) => {
      saved.push(record)
      return Promise.resolve()
    },
    report: keep,
    reportProgress: (body: ReportBody) => void keep(body),
    windowOpen: () => open.shift() ?? true,
    monotonicNow: () => 0,
    windowPollMs: 1,
  }
  const start = (record = newRecord(1), signal = new AbortController().signal) =>
    runDeployment('main', theGoal, record, ports, signal)
  return { start, calls, reports, saved }
}

describe('runDeployment', () => {
  it('goes through the phases to succeeded and records that the terminal status is journalled', async () => {
    const { start, calls, reports, saved } = bench()

    const end = await start()

    expect(calls).toEqual(['download', 'verify', 'search', 'stage', 'activate', 'confirm'])
    expect(reports.map(({ phase, status }) => phase ?? status)).toEqual([
      'downloading',
      'verifying',
      'searching',
      'staged',
      'activating',
      'confirming',
      'succeeded',
    ])
    expect(end.terminal).toMatchObject({ status: 'succeeded', reason: 'objective-met', outcome: 'activated' })
    expect(saved.at(-1)).toMatchObject({ terminal: { status: 'succeeded' }, announced: true })
  })

  it('goes on from the record of a killed run', async () => {
    const { start, calls } = bench()

    await start({ ...newRecord(1), downloaded: true, verified: true, result: found, staged: 'v1' })

    expect(calls).toEqual(['activate', 'confirm'])
  })

  it('waits for the window between verifying and searching', async () => {
    const { start, reports } = bench({}, [false, false, false, false, false, true])

    await start()

    expect(reports.map(({ phase, status }) => phase ?? status).slice(0, 4)).toEqual([
      'downloading',
      'verifying',
      'deferred',
      'searching',
    ])
  })

  it.each([
    ['verify', 'DATASET_MISMATCH', 'rejected', 'dataset-mismatch'],
    ['verify', 'MODEL_UNSUPPORTED', 'rejected', 'model-unsupported'],
    ['download', 'DISK_FULL', 'failed', 'disk-full'],
    ['search', 'TRIAL_FAILED', 'failed', 'trials-failed'],
  ] as const)('ends where %s gives %s as %s, %s, with nothing changed', async (step, code, status, reason) => {
    const { start, calls } = bench({ [step]: () => Promise.reject(new EdgefitError('the cause', { code })) })

    const end = await start()

    expect(end.terminal).toMatchObject({ status, reason, outcome: 'unchanged' })
    expect(end.terminal?.message).toMatch(/the cause/)
    expect(calls).not.toContain('rollBack')
  })

  it.each(['activate', 'confirm'] as const)('rolls back where %s fails', async (step) => {
    const { start } = bench({ [step]: () => Promise.reject(new Error('it did not start')) })

    expect((await start()).terminal).toMatchObject({
      status: 'failed',
      reason: 'activation-failed',
      outcome: 'rolled_back',
    })
  })

  it('says so where there is nothing to roll back to', async () => {
    const { start } = bench({ confirm: () => Promise.reject(new Error('no')), rollBack: () => Promise.resolve(false) })

    expect((await start()).terminal?.outcome).toBe('unable_to_roll_back')
  })

  it('leaves the record for the next start where the agent is stopped', async () => {
    const controller = new AbortController()
    const { start, saved, reports } = bench({
      search: () => {
        controller.abort()
        return Promise.reject(new Error('killed with the agent'))
      },
    })

    await expect(start(newRecord(1), controller.signal)).rejects.toThrow()

    expect(saved.at(-1)).toMatchObject({ verified: true, terminal: null })
    expect(reports.at(-1)?.status).toBe('in_progress')
  })

  it('journals a terminal status that a kill came before', async () => {
    const { start, reports, saved } = bench({ confirm: () => Promise.reject(new Error('it did not start')) })
    await start()
    const killed = saved.find(({ terminal }) => terminal !== null)
    reports.length = 0

    await start(killed)

    expect(reports).toMatchObject([{ status: 'failed', outcome: 'rolled_back' }])
    await start(saved.at(-1))
    expect(reports).toHaveLength(1)
  })

  it('rolls nothing back where the pointer was never switched', async () => {
    const { start, calls } = bench({
      activate: () => Promise.reject(new EdgefitError('no room for a link', { code: 'DISK_FULL' })),
      serving: () => Promise.resolve('v0'),
    })

    const end = await start()

    expect(end.terminal).toMatchObject({ reason: 'disk-full', outcome: 'unchanged' })
    expect(calls).not.toContain('rollBack')
  })

  it('takes the model before for itself no more where it was killed while rolling back', async () => {
    const { start, calls } = bench({
      confirm: (_slot, version) =>
        version === 'v1' ? Promise.reject(new Error('slot main serves v0')) : Promise.resolve(),
      serving: () => Promise.resolve('v0'),
    })
    const record = { ...newRecord(1), downloaded: true, verified: true, result: found, staged: 'v1', activated: true }

    const end = await start(record)

    expect(end.terminal).toMatchObject({ status: 'failed', reason: 'activation-failed', outcome: 'rolled_back' })
    expect(calls).not.toContain('rollBack')
  })

  it('pauses a search where the window closes, and goes on with it in the next one', async () => {
    let searches = 0
    const { start, reports } = bench(
      {
        search: async (_goal, { onReport }, signal) => {
          searches += 1
          if (searches > 1) return found
          await onReport({ kind: 'trial', deploymentId: 'd1', attempt: 1, trial: trialOf('a') })
          signal.throwIfAborted()
          throw new Error('the search went on outside of the window')
        },
      },
      [true, true, true, false, false, true],
    )

    const end = await start()

    expect(end.terminal?.status).toBe('succeeded')
    expect(reports.map(({ phase, status }) => phase ?? status).slice(2, 5)).toEqual([
      'searching',
      'deferred',
      'searching',
    ])
  })

  it.each([
    ['code over the air', { model: { ...goal.model, task: { kind: 'custom', module: '/tmp/x.mjs' } } }, /model\.task/],
    [
      'a window that never opens',
      { schedule: { rebenchmarkCron: null, maintenance: { cron: '30 0 3 * * *', durationMin: 60 } } },
      /maintenance\.cron.*five fields/,
    ],
    [
      'a window that takes long to look at',
      { schedule: { rebenchmarkCron: null, maintenance: { cron: '0 3 * * *', durationMin: 1e9 } } },
      /durationMin/,
    ],
    ['no schedule', { schedule: { rebenchmarkCron: 'daily', maintenance: null } }, /rebenchmarkCron: "daily"/],
  ] as const)('refuses %s, and does nothing', async (_what, change, message) => {
    const { start, calls, reports } = bench({}, [], { ...goal, ...change } as DeploymentGoal)

    const end = await start()

    expect(end.terminal).toMatchObject({ status: 'rejected', reason: 'goal-invalid', outcome: 'unchanged' })
    expect(end.terminal?.message).toMatch(message)
    expect(reports.map(({ status }) => status)).toEqual(['rejected'])
    expect(calls).toEqual([])
  })
})

function trialOf(label: string): Trial {
  return {
    id: 1,
    recipe: recipe(label),
    recipeDigest: 'd'.repeat(64),
    outcome: { kind: 'failed', reason: 'crashed', message: 'no' },
    losses: [],
    durationMs: 1,
  }
}
