import { EdgefitError } from '@edgefit/shared'
import type { DesiredState } from '@edgefit/shared/protocol'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createIngest } from '../../../controller/fleet/ingest.ts'
import { decommissionDevice } from '../../../controller/rollout/decommission.ts'
import { issueDesired } from '../../../controller/rollout/desired-state.ts'
import { createGoals } from '../../../controller/rollout/goals.ts'
import { ABSENT_MS } from '../../../controller/rollout/phase-limits.ts'
import { planRollout } from '../../../controller/rollout/plan-rollout.ts'
import { RolloutInput } from '../../../controller/rollout/rollout-input.ts'
import { loadRollout } from '../../../controller/rollout/rollout-view.ts'
import { createRollouts, type Rollouts } from '../../../controller/rollout/rollouts.ts'
import { createCommitQueue } from '../../../controller/store/commit-queue.ts'
import { openStore } from '../../../controller/store/open-store.ts'
import type { ControllerDatabase } from '../../../controller/store/schema.ts'
import { silentLog } from '../../support/link.ts'
import { batchOf, digest, insertCatalog, insertDevice, measurement, NOW_MS, report, status } from '../fleet/fixtures.ts'

let db: ControllerDatabase
let nowMs: number
let changed: string[][]
let rollouts: Rollouts
let seq: number

beforeEach(async () => {
  db = await openStore(':memory:')
  await insertCatalog(db)
  await insertDevice(db, 'pi-1')
  await insertDevice(db, 'pi-2')
  await insertDevice(db, 'stranger', { state: 'pending' })
  nowMs = NOW_MS
  changed = []
  seq = 0
  let ids = 0
  rollouts = createRollouts({
    db,
    now: () => nowMs,
    newId: () => String(++ids),
    listeningSinceMs: () => NOW_MS,
    onGoalsChanged: (devices) => changed.push([...devices]),
  })
})
afterEach(() => db.destroy())

function input(overrides: object = {}) {
  const base = { model: 'net', dataset: 'data', selector: 'all', objective: { latencyP90Ms: 10 } }
  return RolloutInput.parse({ ...base, ...overrides })
}

async function tell(device: string, deploymentId: string, overrides: Parameters<typeof status>[0]) {
  seq += 1
  const body = status({ deploymentId, ...overrides })
  await createIngest({ commits: createCommitQueue(db), now: () => nowMs }).accept(device, batchOf([report(seq, body)]))
}

const succeeded = { status: 'succeeded', phase: null, reason: 'objective-met', outcome: 'activated' } as const

async function slotsOf(device: string) {
  const { slots } = await issueDesired(db, 'default', device, nowMs)
  return Object.fromEntries(Object.entries(slots).map(([slot, goal]) => [slot, `${goal.deploymentId}/${goal.attempt}`]))
}

async function statuses(id: string) {
  const { state, targets } = await loadRollout(db, id)
  return [state, ...targets.map((target) => `${target.device} ${target.status}`)]
}

describe('a rollout', () => {
  it('puts one deployment on each accepted device that matches, and tells the devices', async () => {
    const id = await rollouts.create(input(), true)

    expect(await statuses(id)).toEqual(['running', 'pi-1 queued', 'pi-2 queued'])
    expect(changed).toEqual([['pi-1', 'pi-2']])
    expect(await slotsOf('pi-1')).toEqual({ default: 'r-1-1/1' })
    expect(await slotsOf('stranger')).toEqual({})
  })

  it('waits as a draft and can be started once', async () => {
    const id = await rollouts.create(input(), false)
    expect(await statuses(id)).toEqual(['draft'])

    await rollouts.start(id)

    expect(await statuses(id)).toEqual(['running', 'pi-1 queued', 'pi-2 queued'])
    await expect(rollouts.start(id)).rejects.toMatchObject({ code: 'CONFLICT' })
  })

  it('is finished when every device has ended', async () => {
    const id = await rollouts.create(input(), true)
    await tell('pi-1', 'r-1-1', succeeded)
    await rollouts.tick()
    expect((await statuses(id))[0]).toBe('running')

    await tell('pi-2', 'r-1-2', { status: 'failed', phase: null, reason: 'objective-infeasible' })
    await rollouts.tick()

    expect(await statuses(id)).toEqual(['finished', 'pi-1 succeeded', 'pi-2 failed'])
  })

  it('gives up on a device that never shows up, and takes its late word nevertheless', async () => {
    await db.updateTable('devices').set({ online: 0 }).where('id', '=', 'pi-2').execute()
    const id = await rollouts.create(input(), true)
    await tell('pi-1', 'r-1-1', succeeded)
    nowMs += ABSENT_MS
    await rollouts.tick()
    expect(await statuses(id)).toEqual(['finished', 'pi-1 succeeded', 'pi-2 timed_out'])

    await tell('pi-2', 'r-1-2', succeeded)

    expect(await statuses(id)).toEqual(['finished', 'pi-1 succeeded', 'pi-2 succeeded'])
    const ends = await db.selectFrom('events').select('actor').where('subject', '=', 'deployment:r-1-2').execute()
    expect(ends.map(({ actor }) => actor)).toEqual(['controller', 'device:pi-2'])
  })

  it('takes the slot from an unfinished one', async () => {
    const first = await rollouts.create(input(), true)
    await tell('pi-1', 'r-1-1', succeeded)
    await tell('pi-2', 'r-1-2', { phase: 'searching' })

    await rollouts.create(input(), true)
    await rollouts.tick()

    expect(await statuses(first)).toEqual(['finished', 'pi-1 succeeded', 'pi-2 cancelled'])
    expect(await slotsOf('pi-2')).toEqual({ default: 'r-2-2/1' })
  })

  it('aborted, returns every slot to what it ran before', async () => {
    await rollouts.create(input({ selector: 'device=pi-1' }), true)
    await tell('pi-1', 'r-1-1', succeeded)
    const second = await rollouts.create(input(), true)
    await tell('pi-1', 'r-2-1', succeeded)

    await rollouts.abort(second)
    await rollouts.abort(second)

    expect(await statuses(second)).toEqual(['aborted', 'pi-1 cancelled', 'pi-2 cancelled'])
    expect(await slotsOf('pi-1')).toEqual({ default: 'r-1-1/1' })
    expect(await slotsOf('pi-2')).toEqual({})
  })

  it('retried, starts a new attempt where the last one failed', async () => {
    const id = await rollouts.create(input(), true)
    await tell('pi-1', 'r-1-1', succeeded)
    await tell('pi-2', 'r-1-2', { status: 'failed', phase: null, reason: 'disk-full' })
    await rollouts.tick()

    await rollouts.retry(id)
    await tell('pi-2', 'r-1-2', { status: 'failed', phase: null, reason: 'disk-full' })

    expect(await statuses(id)).toEqual(['running', 'pi-1 succeeded', 'pi-2 queued'])
    expect(await slotsOf('pi-2')).toEqual({ default: 'r-1-2/2' })
    await tell('pi-2', 'r-1-2', { ...succeeded, attempt: 2 })
    await rollouts.tick()
    expect((await statuses(id))[0]).toBe('finished')
    await expect(rollouts.retry(id)).rejects.toThrow(/nothing to retry/)
  })

  it('keeps to slots of its own', async () => {
    await rollouts.create(input({ slot: 'front' }), true)
    await rollouts.create(input({ slot: 'rear' }), true)

    expect(await slotsOf('pi-1')).toEqual({ front: 'r-1-1/1', rear: 'r-2-1/1' })
  })
})

describe('creation', () => {
  it.each([
    ['a latency of zero', { objective: { latencyP90Ms: 0 } }],
    ['a negative latency', { objective: { latencyP90Ms: -5 } }],
    ['a latency that is no number', { objective: { latencyP90Ms: Number.NaN } }],
    ['an accuracy floor above 1', { objective: { latencyP90Ms: 5, accuracy: { kind: 'relative', value: 1.01 } } }],
    ['memory of zero', { objective: { latencyP90Ms: 5, memoryBytes: 0 } }],
    ['a misspelt field', { objective: { latencyP90Ms: 5, acuracy: 1 } }],
    ['a budget of no time', { search: { budgetS: 0 } }],
    ['a cron expression of nonsense', { schedule: { rebenchmarkCron: 'every night' } }],
    ['a cron expression with seconds', { schedule: { rebenchmarkCron: '0 0 3 * * *' } }],
    ['a cron expression out of range', { schedule: { maintenance: { cron: '99 3 * * *', durationMin: 60 } } }],
    ['a slot that is no name', { slot: 'a/b' }],
  ])('refuses %s', (_, overrides) => {
    expect(() => input(overrides)).toThrow()
  })

  it.each([
    ['an unknown model', { model: 'nett' }, /no model nett is published; there is net@1/],
    ['an unknown version', { dataset: 'data@7' }, /no dataset data@7 is published; there is data@1/],
    ['a split larger than the dataset', { split: { seed: 0, calibration: 500, tuning: 500, evaluation: 500 } }, /1500/],
    ['a selector of an unknown label', { selector: 'sight=lab' }, /no accepted device has "sight"/],
  ])('refuses %s', async (_, overrides, message) => {
    await expect(rollouts.create(input(overrides), true)).rejects.toThrow(message)
    expect(await db.selectFrom('rollouts').selectAll().execute()).toEqual([])
  })

  it('refuses a dataset that does not fit the model, and labels outside its classes', async () => {
    await db.updateTable('datasets').set({ label_max: 7 }).execute()
    await expect(rollouts.create(input(), true)).rejects.toThrow(/label 7, classification has labels 0 to 1/)

    const arrays = JSON.stringify([{ name: 'x', dtype: 'float32', shape: [5] }])
    await db.updateTable('datasets').set({ arrays }).execute()
    await expect(rollouts.create(input(), true)).rejects.toMatchObject({ code: 'DATASET_MISMATCH' })
  })

  it('refuses a custom task, and an AUC without labels', async () => {
    const task = (value: object) =>
      db
        .updateTable('models')
        .set({ task: JSON.stringify(value) })
        .execute()
    await task({ kind: 'custom', module: 'score.js' })
    await expect(rollouts.create(input(), true)).rejects.toThrow(/custom task/)

    await task({ kind: 'binary-score' })
    await db.updateTable('datasets').set({ has_labels: 0, label_min: null, label_max: null }).execute()
    await expect(rollouts.create(input(), true)).rejects.toThrow(/AUC of net needs labels/)
  })
})

describe('the desired state', () => {
  it('keeps its version while nothing changes and raises it when something does', async () => {
    const empty = await issueDesired(db, 'default', 'pi-1', nowMs)
    nowMs += 1000
    expect(await issueDesired(db, 'default', 'pi-1', nowMs)).toEqual(empty)

    await rollouts.create(input(), true)
    const goal = await issueDesired(db, 'default', 'pi-1', nowMs)

    expect(goal.version).toBe(empty.version + 1)
    expect(goal.slots['default']).toMatchObject({
      model: { name: 'net', version: 1, artifact: { digest: digest(1), manifest: { digest: digest(9) } } },
      objective: { latencyP90Ms: 10, minimize: 'latency' },
      search: { budgetS: 600, seed: 0 },
    })
  })

  it('is issued anew long before it expires', async () => {
    const first = await issueDesired(db, 'default', 'pi-1', nowMs)
    nowMs = first.expiresAtMs - 3 * 86_400_000
    const second = await issueDesired(db, 'default', 'pi-1', nowMs)

    expect(second.version).toBe(first.version + 1)
    expect(second.expiresAtMs).toBeGreaterThan(first.expiresAtMs)
  })
})

describe('a device that leaves in the middle of a rollout', () => {
  it('is removed from it, ends it for nobody else, and is left alone by all that follows', async () => {
    const id = await rollouts.create(input(), true)
    await decommissionDevice(db, 'pi-1', nowMs)

    await rollouts.tick()
    expect((await loadRollout(db, id)).state).toBe('running')
    await tell('pi-2', `${id}-2`, succeeded)
    await rollouts.tick()
    const ended = await loadRollout(db, id)
    changed = []
    await rollouts.abort(id)

    expect(ended.state).toBe('finished')
    expect(ended.targets.map(({ device, status }) => [device, status])).toEqual([
      ['pi-1', 'removed'],
      ['pi-2', 'succeeded'],
    ])
    expect((await loadRollout(db, id)).targets[0]?.status).toBe('removed')
    expect(changed.flat()).not.toContain('pi-1')
  })

  it('takes a box up again after weeks of silence, and believes what it then says', async () => {
    const id = await rollouts.create(input({ selector: 'device=pi-1' }), true)
    await db.updateTable('devices').set({ online: 0 }).execute()
    nowMs += ABSENT_MS + 20 * 60_000
    await rollouts.tick()
    expect((await loadRollout(db, id)).targets[0]).toMatchObject({ status: 'timed_out', reason: 'silent' })

    nowMs += 14 * 86_400_000
    expect(await slotsOf('pi-1')).toEqual({ default: `${id}-1/1` })
    await tell('pi-1', `${id}-1`, succeeded)

    expect((await loadRollout(db, id)).targets[0]).toMatchObject({ status: 'succeeded', reason: 'objective-met' })
  })
})

describe('createGoals', () => {
  const goalsVia = (publish: (state: DesiredState) => Promise<void>) =>
    createGoals({ db, commits: createCommitQueue(db), fleet: 'default', now: () => nowMs, publish, log: silentLog })

  it('keeps what it cannot send until the broker is back, and sends the newest then', async () => {
    const sent: DesiredState[] = []
    let reachable = false
    const publish = (state: DesiredState) => {
      if (!reachable) return Promise.reject(new EdgefitError('no broker', { code: 'UNAVAILABLE' }))
      sent.push(state)
      return Promise.resolve()
    }
    const goals = goalsVia(publish)
    goals.send(['pi-1'])
    await goals.drain()
    await rollouts.create(input(), true)

    reachable = true
    goals.resume()
    await goals.drain()

    expect(sent.map(({ device, version, slots }) => [device, version, Object.keys(slots)])).toEqual([
      ['pi-1', 2, ['default']],
    ])
  })

  it('sends what was asked for while the broker was away, however often that was', async () => {
    const sent: string[] = []
    let reachable = false
    const publish = ({ device }: DesiredState) => {
      if (!reachable) return Promise.reject(new EdgefitError('no broker', { code: 'UNAVAILABLE' }))
      sent.push(device)
      return Promise.resolve()
    }
    const goals = goalsVia(publish)
    goals.send(['pi-1'])
    await goals.drain()
    goals.send(['pi-2'])

    reachable = true
    goals.resume()
    await expect.poll(() => [...sent].sort()).toEqual(['pi-1', 'pi-2'])
    await goals.drain()
  })

  it('sends nothing to a device that left the fleet meanwhile', async () => {
    const sent: string[] = []
    const publish = ({ device }: DesiredState) => Promise.resolve(void sent.push(device))
    const goals = goalsVia(publish)
    await decommissionDevice(db, 'pi-1', nowMs)

    goals.send(['pi-1', 'pi-2'])
    await goals.drain()

    expect(sent).toEqual(['pi-2'])
    expect(await db.selectFrom('desired_states').select('device_id').execute()).toEqual([{ device_id: 'pi-2' }])
  })

  it('tries again within minutes what could not be issued', async () => {
    let full = true
    const sent: string[] = []
    const publish = ({ device }: DesiredState) => {
      if (full) return Promise.reject(new Error('database or disk is full'))
      return Promise.resolve(void sent.push(device))
    }
    const goals = goalsVia(publish)
    goals.send(['pi-1'])
    await goals.drain()

    full = false
    await goals.renew()
    await goals.drain()

    expect(sent).toEqual(['pi-1'])
  })

  it('issues anew what nears its expiry, of accepted devices alone', async () => {
    const sent: string[] = []
    const publish = ({ device, version }: DesiredState) => {
      sent.push(`${device} ${version}`)
      return Promise.resolve()
    }
    const goals = goalsVia(publish)
    await issueDesired(db, 'default', 'pi-1', nowMs)
    await issueDesired(db, 'default', 'stranger', nowMs)

    await goals.renew()
    await goals.drain()
    nowMs += 4 * 86_400_000
    await goals.renew()
    await goals.drain()

    expect(sent).toEqual(['pi-1 2'])
  })
})

describe('planRollout', () => {
  it('tells who matches, what has to travel and what the class has shown', async () => {
    await db.updateTable('devices').set({ hardware_class: 'a72-0123456789ab' }).where('id', '=', 'pi-1').execute()
    await rollouts.create(input({ selector: 'device=pi-1' }), true)
    await createIngest({ commits: createCommitQueue(db), now: () => nowMs }).accept(
      'pi-1',
      batchOf([
        report(1, {
          kind: 'result',
          deploymentId: 'r-1-1',
          attempt: 1,
          verdict: 'met',
          baseline: measurement({ latencyMs: { p50: 8, p90: 9, p99: 10, p90Bound: 9.5, count: 500 } }),
          winner: { trialId: 3, digest: digest(3), measurement: measurement() },
          losses: {},
          reasons: [],
        }),
      ]),
    )

    const plan = await planRollout(db, input({ objective: { latencyP90Ms: 5 } }))

    expect(plan.targets).toEqual([
      { device: 'pi-1', online: true, hardwareClass: 'a72-0123456789ab', bytes: 0, supersedes: 'r-1-1' },
      { device: 'pi-2', online: true, hardwareClass: null, bytes: 3200, supersedes: null },
    ])
    expect(plan.classes).toEqual([
      {
        hardwareClass: 'a72-0123456789ab',
        devices: 1,
        baselineP90BoundMs: 9.5,
        bestP90BoundMs: 5.2,
        withinBudget: false,
      },
    ])
  })
})
