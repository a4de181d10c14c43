import {
  type DeploymentPhase,
  type DeploymentStatus,
  isTerminal,
  type ReasonCode,
  type TerminalStatus,
} from '@edgefit/shared/model'
import type { RolloutState } from '../store/schema.ts'
import { ABSENT_MS, CATCH_UP_MS, PHASE_LIMITS, QUEUED_ONLINE_MS } from './phase-limits.ts'

/** A deployment of a rollout and its device, as far as decisions need them. */
export interface DeploymentFacts {
  readonly id: string
  readonly deviceId: string
  readonly slot: string
  readonly attempt: number
  readonly status: DeploymentStatus
  readonly phase: DeploymentPhase | null
  readonly phaseStartedAtMs: number
  readonly lastReportAtMs: number | null
  readonly deviceOnline: boolean
  /** The device's last birth, will or report of any kind. */
  readonly deviceSeenAtMs: number | null
  /** Whether it is what its slot is to run; otherwise a later rollout has taken the slot. */
  readonly isGoal: boolean
  /** The newest deployment of another rollout that succeeded in this slot. */
  readonly previousId: string | null
}

/** A slot that a starting rollout is about to take, and what it is to run until then. */
export interface TargetFacts {
  readonly deviceId: string
  readonly current: { readonly id: string; readonly status: DeploymentStatus } | undefined
}

/** What is to be done; `applyEffects` does it, all or nothing. */
export type RolloutEffect =
  | { readonly kind: 'deploy'; readonly deviceId: string }
  | {
      readonly kind: 'settle'
      readonly deploymentId: string
      readonly status: TerminalStatus
      readonly reason: ReasonCode
      readonly message: string
    }
  | { readonly kind: 'retry'; readonly deploymentId: string; readonly attempt: number }
  | { readonly kind: 'point-slot'; readonly deviceId: string; readonly slot: string; readonly deploymentId: string }
  | { readonly kind: 'empty-slot'; readonly deviceId: string; readonly slot: string }
  | { readonly kind: 'enter'; readonly state: RolloutState }

/** Every target at once; what a slot has not finished gives way. */
export function decideStart(targets: readonly TargetFacts[], rolloutId: string): readonly RolloutEffect[] {
  const superseded = targets.flatMap(({ current }) =>
    current === undefined || isTerminal(current.status)
      ? []
      : [settle(current.id, 'cancelled', 'superseded', `rollout ${rolloutId} has taken the slot`)],
  )
  return [
    { kind: 'enter', state: 'running' },
    ...superseded,
    ...targets.map(({ deviceId }) => ({ kind: 'deploy', deviceId }) as const),
  ]
}

export interface TickFacts {
  /** Those that have not ended are enough. */
  readonly deployments: readonly DeploymentFacts[]
  readonly searchBudgetS: number
  /** Since when the controller has been able to hear devices without a break; undefined while it is not. */
  readonly listeningSinceMs: number | undefined
}

/** Ends what has run out of time, and the rollout once nothing is left to wait for. */
export function decideTick(facts: TickFacts, nowMs: number): readonly RolloutEffect[] {
  const open = facts.deployments.filter(({ status }) => !isTerminal(status))
  const expired = open.flatMap((deployment) => expiry(deployment, facts, nowMs) ?? [])
  return expired.length === open.length ? [...expired, { kind: 'enter', state: 'finished' }] : expired
}

/**
 * Reaches every slot that the rollout still holds: one that ran something before returns to it, also where the new
 * variant is already active; where there was nothing before, an unfinished slot is emptied, and an active variant
 * stays, as a box without any model helps nobody.
 */
export function decideAbort(deployments: readonly DeploymentFacts[]): readonly RolloutEffect[] {
  const effects: RolloutEffect[] = [{ kind: 'enter', state: 'aborted' }]
  for (const { id, deviceId, slot, status, isGoal, previousId } of deployments) {
    const returns = isGoal && previousId !== null
    if (!isTerminal(status)) effects.push(settle(id, 'cancelled', 'removed-by-operator', 'the rollout was aborted'))
    else if (status === 'succeeded' && returns) {
      const message = 'the rollout was aborted after activation; the slot returns to what it ran before'
      effects.push(settle(id, 'cancelled', 'removed-by-operator', message))
    }
    if (returns) effects.push({ kind: 'point-slot', deviceId, slot, deploymentId: previousId })
    else if (isGoal && status !== 'succeeded') effects.push({ kind: 'empty-slot', deviceId, slot })
  }
  return effects
}

/** Another attempt where the slot is still this rollout's. `rejected` would fail the same way again. */
export function decideRetry(deployments: readonly DeploymentFacts[]): readonly RolloutEffect[] {
  const again = deployments.filter(({ status, isGoal }) => isGoal && (status === 'failed' || status === 'timed_out'))
  if (again.length === 0) return []
  return [
    { kind: 'enter', state: 'running' },
    ...again.map(({ id, attempt }) => ({ kind: 'retry', deploymentId: id, attempt: attempt + 1 }) as const),
  ]
}

function expiry(
  deployment: DeploymentFacts,
  { listeningSinceMs, searchBudgetS }: TickFacts,
  nowMs: number,
): RolloutEffect | undefined {
  // What nobody could have heard is not silence, and what was said meanwhile has yet to arrive.
  if (listeningSinceMs === undefined || nowMs - listeningSinceMs < CATCH_UP_MS) return undefined
  const { id, status, phase, phaseStartedAtMs, deviceOnline } = deployment
  const timedOut = (reason: ReasonCode, message: string) => settle(id, 'timed_out', reason, message)
  const lastWordMs = Math.max(listeningSinceMs, phaseStartedAtMs, deployment.lastReportAtMs ?? 0)
  if (status === 'queued' || phase === null || phase === 'deferred') {
    const quietMs = nowMs - Math.max(lastWordMs, deployment.deviceSeenAtMs ?? 0)
    if (!deviceOnline)
      return quietMs < ABSENT_MS ? undefined : timedOut('silent', `the device was not seen for ${inWords(ABSENT_MS)}`)
    if (phase === 'deferred' || quietMs < QUEUED_ONLINE_MS) return undefined
    return timedOut('silent', `the device is online and did not begin within ${inWords(QUEUED_ONLINE_MS)}`)
  }
  const { silentMs, totalMs } = PHASE_LIMITS[phase]
  if (nowMs - lastWordMs >= silentMs)
    return timedOut('silent', `nothing was heard for ${inWords(silentMs)} in ${phase}`)
  const limitMs = totalMs + (phase === 'searching' ? searchBudgetS * 1000 : 0)
  if (nowMs - phaseStartedAtMs < limitMs) return undefined
  return timedOut('phase-timeout', `${phase} took longer than ${inWords(limitMs)}`)
}

function settle(deploymentId: string, status: TerminalStatus, reason: ReasonCode, message: string): RolloutEffect {
  return { kind: 'settle', deploymentId, status, reason, message }
}

function inWords(durationMs: number): string {
  const minutes = Math.round(durationMs / 60_000)
  if (minutes < 120) return `${minutes} min`
  return minutes < 48 * 60 ? `${Math.round(minutes / 60)} h` : `${Math.round(minutes / 1440)} days`
}
