import { recordEvent } from '../store/record-event.ts'
import type { ControllerDatabase, EventKind, RolloutRow, RolloutState } from '../store/schema.ts'
import type { RolloutEffect } from './decide.ts'

export interface EffectContext {
  /** A transaction. */
  readonly db: ControllerDatabase
  readonly rollout: Pick<RolloutRow, 'id' | 'slot'>
  readonly actor: 'operator' | 'controller'
  readonly nowMs: number
}

type Effect<Kind extends RolloutEffect['kind']> = Extract<RolloutEffect, { kind: Kind }>

/** Does what was decided. Returns the devices whose goal may have changed. */
export async function applyEffects(
  context: EffectContext,
  effects: readonly RolloutEffect[],
): Promise<ReadonlySet<string>> {
  const changed = new Set<string>()
  let deployed = 0
  for (const effect of effects) {
    switch (effect.kind) {
      case 'enter':
        await enter(context, effect.state)
        break
      case 'settle':
        await settleDeployment(context, effect)
        break
      case 'deploy':
        deployed += 1
        await deploy(context, effect, `${context.rollout.id}-${deployed}`)
        changed.add(effect.deviceId)
        break
      case 'retry':
        changed.add(await retry(context, effect))
        break
      case 'point-slot':
        await pointSlot(context.db, effect)
        changed.add(effect.deviceId)
        break
      case 'empty-slot':
        await context.db
          .deleteFrom('slot_goals')
          .where('device_id', '=', effect.deviceId)
          .where('slot', '=', effect.slot)
          .execute()
        changed.add(effect.deviceId)
        break
    }
  }
  return changed
}

const STATE_EVENTS: Readonly<Record<RolloutState, EventKind>> = {
  draft: 'rollout-created',
  running: 'rollout-started',
  finished: 'rollout-finished',
  aborted: 'rollout-aborted',
}

async function enter({ db, rollout, actor, nowMs }: EffectContext, state: RolloutState): Promise<void> {
  const times = state === 'running' ? { started_at_ms: nowMs, ended_at_ms: null } : { ended_at_ms: nowMs }
  await db
    .updateTable('rollouts')
    .set({ state, ...times })
    .where('id', '=', rollout.id)
    .execute()
  await recordEvent(db, { atMs: nowMs, actor, kind: STATE_EVENTS[state], subject: `rollout:${rollout.id}` })
}

export async function settleDeployment(
  { db, actor, nowMs }: Omit<EffectContext, 'rollout'>,
  effect: Omit<Effect<'settle'>, 'kind'>,
): Promise<void> {
  const { deploymentId, status, reason, message } = effect
  await db
    .updateTable('deployments')
    .set({ status, reason, message, status_by: 'controller', phase: null, progress: null, ended_at_ms: nowMs })
    .where('id', '=', deploymentId)
    .execute()
  const data = { status, reason, message }
  await recordEvent(db, { atMs: nowMs, actor, kind: 'deployment-ended', subject: `deployment:${deploymentId}`, data })
}

async function deploy(
  { db, rollout, nowMs }: EffectContext,
  { deviceId }: Effect<'deploy'>,
  id: string,
): Promise<void> {
  await db
    .insertInto('deployments')
    .values({
      id,
      rollout_id: rollout.id,
      device_id: deviceId,
      slot: rollout.slot,
      attempt: 1,
      status: 'queued',
      status_by: 'controller',
      created_at_ms: nowMs,
      phase_started_at_ms: nowMs,
    })
    .execute()
  await pointSlot(db, { deviceId, slot: rollout.slot, deploymentId: id })
}

async function retry({ db, actor, nowMs }: EffectContext, effect: Effect<'retry'>): Promise<string> {
  const { deploymentId, attempt } = effect
  const { device_id } = await db
    .updateTable('deployments')
    .set({
      attempt,
      status: 'queued',
      status_by: 'controller',
      status_position: null,
      phase: null,
      reason: null,
      message: null,
      progress: null,
      verdict: null,
      verdict_reasons: null,
      winner_digest: null,
      winner_trial_id: null,
      final_losses: null,
      result_position: null,
      started_at_ms: null,
      phase_started_at_ms: nowMs,
      last_report_at_ms: null,
      ended_at_ms: null,
    })
    .where('id', '=', deploymentId)
    .returning('device_id')
    .executeTakeFirstOrThrow()
  const subject = `deployment:${deploymentId}`
  await recordEvent(db, { atMs: nowMs, actor, kind: 'deployment-retried', subject, data: { attempt } })
  return device_id
}

async function pointSlot(
  db: ControllerDatabase,
  { deviceId, slot, deploymentId }: Omit<Effect<'point-slot'>, 'kind'>,
): Promise<void> {
  await db
    .insertInto('slot_goals')
    .values({ device_id: deviceId, slot, deployment_id: deploymentId })
    .onConflict((conflict) => conflict.columns(['device_id', 'slot']).doUpdateSet({ deployment_id: deploymentId }))
    .execute()
}
