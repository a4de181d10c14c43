import type { Profile } from '@edgefit/shared/model'
import type { Presence } from '@edgefit/shared/protocol'
import type { ControllerDatabase } from '../store/schema.ts'
import { findDevice, setOwnLabels } from './device-registry.ts'

const PROFILES_KEPT = 10

/**
 * Takes a birth or a will. A will of a session that is not the current one is late news and ignored, as is anything
 * of a device that is not accepted. Call it in a transaction.
 */
export async function applyPresence(
  db: ControllerDatabase,
  device: string,
  presence: Presence,
  nowMs: number,
): Promise<'online' | 'offline' | 'ignored'> {
  const known = await findDevice(db, device)
  if (known?.state !== 'accepted') return 'ignored'
  if (!presence.online) {
    if (known.session !== presence.session) return 'ignored'
    await db.updateTable('devices').set({ online: 0, last_seen_ms: nowMs }).where('id', '=', device).execute()
    return 'offline'
  }
  const { session, agentVersion: agent_version, labels } = presence
  await db
    .updateTable('devices')
    .set({ online: 1, session, agent_version, last_seen_ms: nowMs })
    .where('id', '=', device)
    .execute()
  await setOwnLabels(db, device, labels)
  return 'online'
}

/** On a controller's start nobody is known to be there until they announce themselves. */
export async function markAllOffline(db: ControllerDatabase): Promise<void> {
  await db.updateTable('devices').set({ online: 0, session: null }).where('online', '=', 1).execute()
}

/** Keeps the profile if it differs from the newest one; the oldest are dropped. Call it in a transaction. */
export async function applyProfile(
  db: ControllerDatabase,
  device: string,
  profile: Profile,
  nowMs: number,
): Promise<void> {
  const known = await findDevice(db, device)
  if (known?.state !== 'accepted') return
  const text = JSON.stringify(profile)
  const kept = await db
    .selectFrom('profiles')
    .select(['id', 'profile'])
    .where('device_id', '=', device)
    .orderBy('id', 'desc')
    .execute()
  if (kept[0]?.profile !== text) {
    await db
      .insertInto('profiles')
      .values({
        device_id: device,
        hardware_class: profile.hardwareClass,
        architecture: profile.cpu.architecture,
        cpu_model: profile.cpu.model,
        profile: text,
        received_at_ms: nowMs,
      })
      .execute()
    const surplus = kept.slice(PROFILES_KEPT - 1).map((row) => row.id)
    if (surplus.length > 0) await db.deleteFrom('profiles').where('id', 'in', surplus).execute()
  }
  await db
    .updateTable('devices')
    .set({ hardware_class: profile.hardwareClass, last_seen_ms: nowMs })
    .where('id', '=', device)
    .execute()
}
