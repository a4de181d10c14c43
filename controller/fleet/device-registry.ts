import { EdgefitError } from '@edgefit/shared'
import type { Labels } from '@edgefit/shared/model'
import { recordEvent } from '../store/record-event.ts'
import type { ControllerDatabase, DeviceRow, DeviceState, EventKind } from '../store/schema.ts'
import { FACT_KEYS } from './selector.ts'

export interface EnrolmentRequest {
  readonly device: string
  /** Ed25519, the JWK `x` value. */
  readonly publicKey: string
  readonly labels: Labels
  readonly agentVersion: string
}

/**
 * Files a device's request to join and says where it stands. A name that is accepted keeps its key: another key
 * under it is turned away until the operator has decommissioned the old box, and then waits for approval like any.
 * Call it in a transaction.
 *
 * @throws EdgefitError UNAVAILABLE where too many wait for the operator.
 */
export async function enrolDevice(
  db: ControllerDatabase,
  request: EnrolmentRequest,
  nowMs: number,
): Promise<DeviceState> {
  const known = await findDevice(db, request.device)
  if (known?.public_key === request.publicKey && known.state !== 'decommissioned') return known.state
  const event = { atMs: nowMs, actor: `device:${request.device}`, subject: `device:${request.device}` }
  if (known?.state === 'accepted') {
    await recordEvent(db, { ...event, kind: 'enrolment-refused', data: { reason: 'another key under this name' } })
    return 'rejected'
  }
  if (known?.state !== 'pending') await assertRoomForPending(db, request.device)
  const row = {
    state: 'pending',
    public_key: request.publicKey,
    agent_version: request.agentVersion,
    enrolled_at_ms: nowMs,
    state_changed_at_ms: nowMs,
    online: 0,
    session: null,
  } as const
  await db
    .insertInto('devices')
    .values({ id: request.device, last_seen_ms: null, hardware_class: null, ...row })
    .onConflict((conflict) => conflict.column('id').doUpdateSet(row))
    .execute()
  await setOwnLabels(db, request.device, request.labels)
  await recordEvent(db, { ...event, kind: 'device-enrolled' })
  return 'pending'
}

/** So many names nobody has looked at are a join token in the wrong hands. */
const MAX_PENDING = 10_000

async function assertRoomForPending(db: ControllerDatabase, device: string): Promise<void> {
  const { count } = await db
    .selectFrom('devices')
    .select(({ fn }) => fn.countAll<number>().as('count'))
    .where('state', '=', 'pending')
    .executeTakeFirstOrThrow()
  if (count >= MAX_PENDING)
    throw new EdgefitError(`${device} cannot enrol: ${count} devices are pending; accept or reject some`, {
      code: 'UNAVAILABLE',
      details: { device, pending: count },
    })
}

/** Which states an operator may bring a device to, by the one it is in. */
const TRANSITIONS: Readonly<Record<DeviceState, readonly DeviceState[]>> = {
  pending: ['accepted', 'rejected'],
  accepted: ['decommissioned'],
  rejected: ['accepted', 'decommissioned'],
  decommissioned: [],
}

const TRANSITION_EVENTS: Readonly<Record<Exclude<DeviceState, 'pending'>, EventKind>> = {
  accepted: 'device-accepted',
  rejected: 'device-rejected',
  decommissioned: 'device-decommissioned',
}

/**
 * Asking for the state it is in already changes nothing.
 *
 * @throws EdgefitError NOT_FOUND, or CONFLICT where its state does not allow it.
 */
export async function changeDeviceState(
  db: ControllerDatabase,
  device: string,
  next: Exclude<DeviceState, 'pending'>,
  nowMs: number,
): Promise<void> {
  const { state } = await requireDevice(db, device)
  if (state === next) return
  if (!TRANSITIONS[state].includes(next))
    throw new EdgefitError(`device "${device}" is ${state} and cannot become ${next}; ${remedyFor(state)}`, {
      code: 'CONFLICT',
      details: { device, state, next },
    })
  const offline = next === 'decommissioned' ? { online: 0, session: null } : {}
  await db
    .updateTable('devices')
    .set({ state: next, state_changed_at_ms: nowMs, ...offline })
    .where('id', '=', device)
    .execute()
  const kind = TRANSITION_EVENTS[next]
  await recordEvent(db, { atMs: nowMs, actor: 'operator', kind, subject: `device:${device}` })
}

function remedyFor(state: DeviceState): string {
  if (state === 'accepted') return 'take it out with "edgefit device decommission"'
  if (state === 'decommissioned') return 'the box must enrol again with a join token'
  return 'accept or reject it first'
}

/**
 * Sets operator labels; null removes one, and the device's own label of that key, if any, comes back with its next
 * presence.
 *
 * @throws EdgefitError NOT_FOUND for the device or a label to remove; INPUT_INVALID for a key that names a fact.
 */
export async function labelDevice(
  db: ControllerDatabase,
  device: string,
  changes: Readonly<Record<string, string | null>>,
  nowMs: number,
): Promise<void> {
  await requireDevice(db, device)
  for (const [key, value] of Object.entries(changes)) {
    if (FACT_KEYS.some((fact) => fact === key))
      throw new EdgefitError(`label "${key}" is measured on the box and cannot be set; choose another key`, {
        code: 'INPUT_INVALID',
        details: { key },
      })
    await (value === null ? removeLabel(db, device, key) : setOperatorLabel(db, device, key, value))
  }
  const subject = `device:${device}`
  await recordEvent(db, { atMs: nowMs, actor: 'operator', kind: 'device-labelled', subject, data: changes })
}

async function setOperatorLabel(db: ControllerDatabase, device: string, key: string, value: string): Promise<void> {
  await db
    .insertInto('device_labels')
    .values({ device_id: device, key, value, origin: 'operator' })
    .onConflict((conflict) => conflict.columns(['device_id', 'key']).doUpdateSet({ value, origin: 'operator' }))
    .execute()
}

async function removeLabel(db: ControllerDatabase, device: string, key: string): Promise<void> {
  const { numDeletedRows } = await db
    .deleteFrom('device_labels')
    .where('device_id', '=', device)
    .where('key', '=', key)
    .where('origin', '=', 'operator')
    .executeTakeFirst()
  if (numDeletedRows === 0n)
    throw new EdgefitError(
      `device "${device}" has no operator label "${key}"; its own labels are changed in the agent's configuration`,
      { code: 'NOT_FOUND', details: { device, key } },
    )
}

/** Replaces the labels a device gives itself; those the operator set stay. */
export async function setOwnLabels(db: ControllerDatabase, device: string, labels: Labels): Promise<void> {
  await db.deleteFrom('device_labels').where('device_id', '=', device).where('origin', '=', 'device').execute()
  const rows = Object.entries(labels).map(([key, value]) => ({
    device_id: device,
    key,
    value,
    origin: 'device' as const,
  }))
  if (rows.length === 0) return
  await db
    .insertInto('device_labels')
    .values(rows)
    .onConflict((conflict) => conflict.columns(['device_id', 'key']).doNothing())
    .execute()
}

export async function findDevice(db: ControllerDatabase, device: string): Promise<DeviceRow | undefined> {
  return await db.selectFrom('devices').selectAll().where('id', '=', device).executeTakeFirst()
}

/** @throws EdgefitError NOT_FOUND */
export async function requireDevice(db: ControllerDatabase, device: string): Promise<DeviceRow> {
  const row = await findDevice(db, device)
  if (row === undefined)
    throw new EdgefitError(`no device is called "${device}"; see "edgefit device list"`, {
      code: 'NOT_FOUND',
      details: { device },
    })
  return row
}
