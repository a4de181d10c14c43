import type { ControllerDatabase, EventKind } from './schema.ts'

export interface FleetEvent {
  readonly atMs: number
  /** `operator`, `controller` or `device:ID`. */
  readonly actor: string
  readonly kind: EventKind
  /** `device:ID`, `rollout:ID`, `deployment:ID`, `model:NAME@VERSION`, `dataset:NAME@VERSION`, `token:ID`. */
  readonly subject: string
  readonly data?: Readonly<Record<string, unknown>>
}

const DEVICE_EVENTS_PER_HOUR = 100
const HOUR_MS = 3_600_000

/** As {@link recordEvent}, for what a device can cause at will: of more than a hundred an hour the rest is left out. */
export async function recordDeviceEvent(db: ControllerDatabase, event: FleetEvent): Promise<void> {
  const earlier = await db
    .selectFrom('events')
    .select('at_ms')
    .where('subject', '=', event.subject)
    .orderBy('id', 'desc')
    .offset(DEVICE_EVENTS_PER_HOUR - 1)
    .limit(1)
    .executeTakeFirst()
  const full = earlier !== undefined && earlier.at_ms <= event.atMs && event.atMs - earlier.at_ms < HOUR_MS
  if (!full) await recordEvent(db, event)
}

/** Call it in the transaction that makes the change, so that neither is ever without the other. */
export async function recordEvent(db: ControllerDatabase, event: FleetEvent): Promise<void> {
  const { atMs, actor, kind, subject, data = {} } = event
  await db
    .insertInto('events')
    .values({ at_ms: atMs, actor, kind, subject, data: JSON.stringify(data) })
    .execute()
}
