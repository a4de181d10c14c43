import { DEPLOYMENT_PHASES, isTerminal } from '@edgefit/shared/model'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  type DeploymentFacts,
  decideAbort,
  decideRetry,
  decideStart,
  decideTick,
} from '../../../controller/rollout/decide.ts'
import { ABSENT_MS, CATCH_UP_MS, PHASE_LIMITS, QUEUED_ONLINE_MS } from '../../../controller/rollout/phase-limits.ts'

const START_MS = 1_000_000
const BUDGET_S = 600

function facts(overrides: Partial<DeploymentFacts> = {}): DeploymentFacts {
  return {
    id: 'r1-1',
    deviceId: 'pi-1',
    slot: 'default',
    attempt: 1,
    status: 'in_progress',
    phase: 'downloading',
    phaseStartedAtMs: START_MS,
    lastReportAtMs: START_MS,
    deviceOnline: true,
    deviceSeenAtMs: START_MS,
    isGoal: true,
    previousId: null,
    ...overrides,
  }
}

function tick(deployments: readonly DeploymentFacts[], nowMs: number, listeningSinceMs: number | undefined = 0) {
  return decideTick({ deployments, searchBudgetS: BUDGET_S, listeningSinceMs }, nowMs)
}

function outcomeAt(deployment: DeploymentFacts, elapsedMs: number, listeningSinceMs?: number) {
  const effects = tick([deployment], START_MS + elapsedMs, listeningSinceMs)
  const settled = effects.find((effect) => effect.kind === 'settle')
  return settled === undefined ? 'waits' : `${settled.status} ${settled.reason}`
}

describe('decideTick', () => {
  const timed = DEPLOYMENT_PHASES.filter((phase) => phase !== 'deferred')

  it.each(timed)('takes a device that is silent in %s for lost, and not a moment before', (phase) => {
    const { silentMs } = PHASE_LIMITS[phase]

    expect(outcomeAt(facts({ phase }), silentMs - 1)).toBe('waits')
    expect(outcomeAt(facts({ phase }), silentMs)).toBe('timed_out silent')
  })

  it.each(timed)('ends %s after its limit though the device keeps talking', (phase) => {
    const limitMs = PHASE_LIMITS[phase].totalMs + (phase === 'searching' ? BUDGET_S * 1000 : 0)
    const talking = facts({ phase, lastReportAtMs: START_MS + limitMs })

    expect(outcomeAt(talking, limitMs - 1)).toBe('waits')
    expect(outcomeAt(talking, limitMs)).toBe('timed_out phase-timeout')
  })

  it('lets a device wait for its maintenance window as long as it is there', () => {
    const deferred = facts({ phase: 'deferred' })

    expect(outcomeAt(deferred, 1000 * ABSENT_MS)).toBe('waits')
    expect(outcomeAt({ ...deferred, deviceOnline: false }, ABSENT_MS)).toBe('timed_out silent')
  })

  it('gives a device that is away more time to begin than one that is there', () => {
    const queued = facts({ status: 'queued', phase: null, lastReportAtMs: null })
    const away = { ...queued, deviceOnline: false }

    expect(outcomeAt(queued, QUEUED_ONLINE_MS - 1)).toBe('waits')
    expect(outcomeAt(queued, QUEUED_ONLINE_MS)).toBe('timed_out silent')
    expect(outcomeAt(away, ABSENT_MS - 1)).toBe('waits')
    expect(outcomeAt(away, ABSENT_MS)).toBe('timed_out silent')
  })

  it('counts from the return of a device that was away when its turn came', () => {
    const queued = facts({ status: 'queued', phase: null, lastReportAtMs: null })
    const backMs = 5 * QUEUED_ONLINE_MS
    const back = { ...queued, deviceSeenAtMs: START_MS + backMs }

    expect(outcomeAt(back, backMs + QUEUED_ONLINE_MS - 1)).toBe('waits')
    expect(outcomeAt(back, backMs + QUEUED_ONLINE_MS)).toBe('timed_out silent')
  })

  it('does not take for silence what it could not have heard', () => {
    const { silentMs } = PHASE_LIMITS.downloading
    const returnedMs = 10 * silentMs

    expect(outcomeAt(facts(), returnedMs, START_MS + returnedMs)).toBe('waits')
    expect(outcomeAt(facts(), returnedMs + silentMs - 1, START_MS + returnedMs)).toBe('waits')
    expect(outcomeAt(facts(), returnedMs + silentMs, START_MS + returnedMs)).toBe('timed_out silent')
    const away = { deployments: [facts()], searchBudgetS: BUDGET_S, listeningSinceMs: undefined }
    expect(decideTick(away, START_MS + 100 * ABSENT_MS)).toEqual([])
  })

  it('lets devices hand in what they have kept before it ends a phase that took too long', () => {
    const { totalMs } = PHASE_LIMITS.searching
    const long = facts({ phase: 'searching', lastReportAtMs: START_MS + 10 * totalMs })
    const returnedMs = 10 * totalMs

    expect(outcomeAt(long, returnedMs + CATCH_UP_MS - 1, START_MS + returnedMs)).toBe('waits')
    expect(outcomeAt(long, returnedMs + CATCH_UP_MS, START_MS + returnedMs)).toBe('timed_out phase-timeout')
  })

  it('finishes a rollout once nothing is open, in the same step in which the last one runs out of time', () => {
    expect(tick([], START_MS)).toEqual([{ kind: 'enter', state: 'finished' }])
    expect(tick([facts({ status: 'failed', phase: null })], START_MS)).toEqual([{ kind: 'enter', state: 'finished' }])
    expect(tick([facts()], START_MS)).toEqual([])
    expect(tick([facts()], START_MS + ABSENT_MS).at(-1)).toEqual({ kind: 'enter', state: 'finished' })
  })

  it('leaves nothing open for ever', () => {
    const anyFacts = fc.record({
      status: fc.constantFrom('queued', 'in_progress'),
      phase: fc.constantFrom(...timed, null),
      deviceOnline: fc.boolean(),
      lastReportAtMs: fc.option(fc.integer({ min: START_MS, max: START_MS + ABSENT_MS })),
    })

    fc.assert(
      fc.property(anyFacts, (some) => {
        expect(outcomeAt(facts(some as Partial<DeploymentFacts>), 3 * ABSENT_MS)).toMatch(/^timed_out/)
      }),
      { seed: 3 },
    )
  })
})

describe('decideStart', () => {
  it('deploys to every target and ends what their slots have not finished', () => {
    const effects = decideStart(
      [
        { deviceId: 'pi-1', current: undefined },
        { deviceId: 'pi-2', current: { id: 'r0-7', status: 'in_progress' } },
        { deviceId: 'pi-3', current: { id: 'r0-8', status: 'succeeded' } },
      ],
      'r1',
    )

    expect(effects).toEqual([
      { kind: 'enter', state: 'running' },
      expect.objectContaining({ kind: 'settle', deploymentId: 'r0-7', status: 'cancelled', reason: 'superseded' }),
      { kind: 'deploy', deviceId: 'pi-1' },
      { kind: 'deploy', deviceId: 'pi-2' },
      { kind: 'deploy', deviceId: 'pi-3' },
    ])
  })
})

describe('decideAbort', () => {
  const kinds = (deployment: Partial<DeploymentFacts>) =>
    decideAbort([facts(deployment)])
      .slice(1)
      .map((effect) => effect.kind)

  it.each([
    ['queued, nothing before', { status: 'queued', phase: null }, ['settle', 'empty-slot']],
    ['at work, something before', { previousId: 'r0-1' }, ['settle', 'point-slot']],
    ['activated, something before', { status: 'succeeded', previousId: 'r0-1' }, ['settle', 'point-slot']],
    ['activated, nothing before', { status: 'succeeded' }, []],
    ['failed, something before', { status: 'failed', previousId: 'r0-1' }, ['point-slot']],
    ['failed, nothing before', { status: 'failed' }, ['empty-slot']],
    ['at work in a slot that a later rollout has taken', { isGoal: false, previousId: 'r0-1' }, ['settle']],
    ['activated in a slot that a later rollout has taken', { status: 'succeeded', isGoal: false }, []],
  ] as [string, Partial<DeploymentFacts>, string[]][])('%s', (_, deployment, expected) => {
    expect(kinds(deployment)).toEqual(expected)
  })

  it('leaves no deployment open', () => {
    const open = [facts(), facts({ id: 'r1-2', status: 'queued', phase: null })]

    const settled = decideAbort(open).flatMap((effect) => (effect.kind === 'settle' ? [effect.status] : []))

    expect(settled).toHaveLength(2)
    expect(settled.every(isTerminal)).toBe(true)
  })
})

describe('decideRetry', () => {
  it('raises the attempt of what failed or timed out and is still wanted', () => {
    const effects = decideRetry([
      facts({ id: 'a', status: 'failed', attempt: 2 }),
      facts({ id: 'b', status: 'timed_out' }),
      facts({ id: 'c', status: 'rejected' }),
      facts({ id: 'd', status: 'succeeded' }),
      facts({ id: 'e', status: 'failed', isGoal: false }),
    ])

    expect(effects).toEqual([
      { kind: 'enter', state: 'running' },
      { kind: 'retry', deploymentId: 'a', attempt: 3 },
      { kind: 'retry', deploymentId: 'b', attempt: 2 },
    ])
    expect(decideRetry([facts({ status: 'succeeded' })])).toEqual([])
  })
})
