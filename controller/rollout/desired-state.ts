import type { ArtifactRef } from '@edgefit/shared/model'
import { DeploymentGoal, type DesiredState, PROTOCOL_VERSION } from '@edgefit/shared/protocol'
import { artifactRefOf } from '../store/artifact-ref.ts'
import type { ControllerDatabase } from '../store/schema.ts'
import { deploymentsInFull } from './deployments-in-full.ts'

const LIFE_MS = 7 * 24 * 3_600_000
/** Issued anew with half its life left, so that a device that is away for days still meets a valid one. */
const RENEW_BEFORE_MS = LIFE_MS / 2

type Slots = DesiredState['slots']

/**
 * What a device is to run. The version goes up, on disk before it is ever sent, when the slots differ from what was
 * last issued or its expiry comes near; otherwise the same document as before is given, to the byte. Call it in a
 * transaction.
 */
export async function issueDesired(
  db: ControllerDatabase,
  fleet: string,
  device: string,
  nowMs: number,
): Promise<DesiredState> {
  const slots = await loadSlots(db, device)
  const text = JSON.stringify(slots)
  const last = await db.selectFrom('desired_states').selectAll().where('device_id', '=', device).executeTakeFirst()
  const row =
    last?.slots === text && last.expires_at_ms - nowMs > RENEW_BEFORE_MS
      ? last
      : { version: (last?.version ?? 0) + 1, issued_at_ms: nowMs, expires_at_ms: nowMs + LIFE_MS, slots: text }
  if (row !== last)
    await db
      .insertInto('desired_states')
      .values({ device_id: device, ...row })
      .onConflict((conflict) => conflict.column('device_id').doUpdateSet(row))
      .execute()
  const { version, issued_at_ms: issuedAtMs, expires_at_ms: expiresAtMs } = row
  return { v: PROTOCOL_VERSION, fleet, device, version, issuedAtMs, expiresAtMs, slots }
}

/**
 * A device that has accepted a higher version than is on record here, as after a restore from a backup, would refuse
 * what comes next: the next version goes above it.
 */
export async function keepAbove(
  db: ControllerDatabase,
  device: string,
  acceptedVersion: number,
  nowMs: number,
): Promise<void> {
  await db
    .insertInto('desired_states')
    .values({ device_id: device, version: acceptedVersion, slots: '', issued_at_ms: nowMs, expires_at_ms: nowMs })
    .onConflict((conflict) =>
      conflict
        .column('device_id')
        .doUpdateSet({ version: acceptedVersion, slots: '' })
        .where('desired_states.version', '<', acceptedVersion),
    )
    .execute()
}

/** Accepted devices whose goal is to be issued anew. */
export async function devicesToRenew(db: ControllerDatabase, nowMs: number): Promise<readonly string[]> {
  const rows = await db
    .selectFrom('desired_states')
    .innerJoin('devices', 'devices.id', 'desired_states.device_id')
    .select('devices.id')
    .where('devices.state', '=', 'accepted')
    .where('expires_at_ms', '<=', nowMs + RENEW_BEFORE_MS)
    .execute()
  return rows.map(({ id }) => id)
}

async function loadSlots(db: ControllerDatabase, device: string): Promise<Slots> {
  const rows = await deploymentsInFull(db)
    .innerJoin('slot_goals', 'slot_goals.deployment_id', 'deployments.id')
    .selectAll('rollouts')
    .select([
      'slot_goals.slot as goal_slot',
      'deployments.id as deployment_id',
      'deployments.attempt',
      'models.task',
      'models.artifact_digest as model_digest',
      'datasets.artifact_digest as dataset_digest',
    ])
    .where('slot_goals.device_id', '=', device)
    .orderBy('slot_goals.slot')
    .execute()
  const slots: Record<string, DeploymentGoal> = {}
  for (const row of rows) {
    // Parsed, so that equal goals are equal text whatever wrote the columns.
    slots[row.goal_slot] = DeploymentGoal.parse({
      deploymentId: row.deployment_id,
      rolloutId: row.id,
      attempt: row.attempt,
      model: {
        name: row.model_name,
        version: row.model_version,
        task: JSON.parse(row.task),
        artifact: await artifactRef(db, row.model_digest),
      },
      dataset: {
        name: row.dataset_name,
        version: row.dataset_version,
        artifact: await artifactRef(db, row.dataset_digest),
        split: JSON.parse(row.split),
      },
      objective: JSON.parse(row.objective),
      search: JSON.parse(row.search),
      schedule: JSON.parse(row.schedule),
    })
  }
  return slots
}

async function artifactRef(db: ControllerDatabase, digest: string): Promise<ArtifactRef> {
  return artifactRefOf(
    await db.selectFrom('artifacts').selectAll().where('digest', '=', digest).executeTakeFirstOrThrow(),
  )
}
