import { Labels, Profile } from '@edgefit/shared/model'
import * as z from 'zod'
import { type ControllerDatabase, DEVICE_STATES, type DeviceState } from '../store/schema.ts'

/** A device as operators see it. */
export const DeviceView = z.object({
  id: z.string(),
  state: z.enum(DEVICE_STATES),
  online: z.boolean(),
  lastSeenAtMs: z.int().nullable(),
  enrolledAtMs: z.int(),
  agentVersion: z.string(),
  labels: Labels,
  hardwareClass: z.string().nullable(),
  architecture: z.string().nullable(),
  cpuModel: z.string().nullable(),
})
export type DeviceView = z.infer<typeof DeviceView>

export interface DeviceFilter {
  readonly id?: string
  readonly state?: DeviceState
}

/** By id. */
export async function loadDevices(db: ControllerDatabase, filter: DeviceFilter = {}): Promise<DeviceView[]> {
  let query = db
    .selectFrom('devices')
    .leftJoin(
      (eb) =>
        eb
          .selectFrom('profiles')
          .select(({ fn }) => ['device_id', fn.max('id').as('newest_id')])
          .groupBy('device_id')
          .as('newest'),
      (join) => join.onRef('newest.device_id', '=', 'devices.id'),
    )
    .leftJoin('profiles', 'profiles.id', 'newest.newest_id')
    .selectAll('devices')
    .select(['profiles.architecture', 'profiles.cpu_model'])
    .orderBy('devices.id')
  if (filter.id !== undefined) query = query.where('devices.id', '=', filter.id)
  if (filter.state !== undefined) query = query.where('devices.state', '=', filter.state)
  const rows = await query.execute()
  const labels = await loadLabels(db, filter.id)
  return rows.map((row) => ({
    id: row.id,
    state: row.state,
    online: row.online === 1,
    lastSeenAtMs: row.last_seen_ms,
    enrolledAtMs: row.enrolled_at_ms,
    agentVersion: row.agent_version,
    labels: labels.get(row.id) ?? {},
    hardwareClass: row.hardware_class,
    architecture: row.architecture,
    cpuModel: row.cpu_model,
  }))
}

/** The newest profile of a device; null until it has sent one. */
export async function loadProfile(db: ControllerDatabase, device: string): Promise<Profile | null> {
  const row = await db
    .selectFrom('profiles')
    .select('profile')
    .where('device_id', '=', device)
    .orderBy('id', 'desc')
    .limit(1)
    .executeTakeFirst()
  return row === undefined ? null : Profile.parse(JSON.parse(row.profile))
}

async function loadLabels(db: ControllerDatabase, device: string | undefined): Promise<Map<string, Labels>> {
  let query = db.selectFrom('device_labels').select(['device_id', 'key', 'value']).orderBy('key')
  if (device !== undefined) query = query.where('device_id', '=', device)
  const labels = new Map<string, Labels>()
  for (const { device_id, key, value } of await query.execute()) {
    const own = labels.get(device_id) ?? {}
    own[key] = value
    labels.set(device_id, own)
  }
  return labels
}
