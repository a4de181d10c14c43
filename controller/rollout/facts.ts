import { DEPLOYMENT_STATUSES, isTerminal } from '@edgefit/shared/model'
import type { ControllerDatabase } from '../store/schema.ts'
import type { DeploymentFacts, TargetFacts } from './decide.ts'

const OPEN_STATUSES = DEPLOYMENT_STATUSES.filter((status) => !isTerminal(status))

/** `open`: those that have not ended. */
export async function loadDeploymentFacts(
  db: ControllerDatabase,
  rolloutId: string,
  which: 'open' | 'all',
): Promise<readonly DeploymentFacts[]> {
  let query = db
    .selectFrom('deployments')
    .innerJoin('devices', 'devices.id', 'deployments.device_id')
    .leftJoin('slot_goals', (join) =>
      join
        .onRef('slot_goals.device_id', '=', 'deployments.device_id')
        .onRef('slot_goals.slot', '=', 'deployments.slot')
        .onRef('slot_goals.deployment_id', '=', 'deployments.id'),
    )
    .select([
      'deployments.id',
      'deployments.device_id',
      'deployments.slot',
      'deployments.attempt',
      'deployments.status',
      'deployments.phase',
      'deployments.phase_started_at_ms',
      'deployments.last_report_at_ms',
      'devices.online',
      'devices.last_seen_ms',
      'slot_goals.deployment_id as goal',
    ])
    .select((eb) =>
      eb
        .selectFrom('deployments as earlier')
        .select('earlier.id')
        .whereRef('earlier.device_id', '=', 'deployments.device_id')
        .whereRef('earlier.slot', '=', 'deployments.slot')
        .where('earlier.rollout_id', '!=', rolloutId)
        .where('earlier.status', '=', 'succeeded')
        .whereRef('earlier.created_at_ms', '<=', 'deployments.created_at_ms')
        .orderBy('earlier.ended_at_ms', 'desc')
        .limit(1)
        .as('previous'),
    )
    .where('deployments.rollout_id', '=', rolloutId)
    .orderBy('deployments.device_id')
  if (which === 'open') query = query.where('deployments.status', 'in', OPEN_STATUSES)
  const rows = await query.execute()
  return rows.map((row) => ({
    id: row.id,
    deviceId: row.device_id,
    slot: row.slot,
    attempt: row.attempt,
    status: row.status,
    phase: row.phase,
    phaseStartedAtMs: row.phase_started_at_ms,
    lastReportAtMs: row.last_report_at_ms,
    deviceOnline: row.online === 1,
    deviceSeenAtMs: row.last_seen_ms,
    isGoal: row.goal !== null,
    previousId: row.previous,
  }))
}

/** Running rollouts, and whether anything is open in them. */
export async function loadRunningRollouts(db: ControllerDatabase) {
  return await db
    .selectFrom('rollouts')
    .select('id')
    .select((eb) =>
      eb
        .selectFrom('deployments')
        .select(({ fn }) => fn.countAll<number>().as('count'))
        .whereRef('deployments.rollout_id', '=', 'rollouts.id')
        .where('deployments.status', 'in', OPEN_STATUSES)
        .as('open'),
    )
    .where('state', '=', 'running')
    .execute()
}

export async function loadTargetFacts(
  db: ControllerDatabase,
  deviceIds: readonly string[],
  slot: string,
): Promise<readonly TargetFacts[]> {
  const rows = await db
    .selectFrom('slot_goals')
    .innerJoin('deployments', 'deployments.id', 'slot_goals.deployment_id')
    .select(['slot_goals.device_id', 'deployments.id', 'deployments.status'])
    .where('slot_goals.slot', '=', slot)
    .execute()
  const current = new Map(rows.map(({ device_id, id, status }) => [device_id, { id, status }]))
  return deviceIds.map((deviceId) => ({ deviceId, current: current.get(deviceId) }))
}
