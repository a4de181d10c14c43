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

/** Call it in the transaction that makes the change, so that neither is ever without the other. */
export async function recordEvent(db: ControllerDatabase, event: FleetEvent): Promise<void> {
  const { atMs, actor, kind, subject, data = {} } = event
  await db
    .insertInto('events')
    .values({ at_ms: atMs, actor, kind, subject, data: JSON.stringify(data) })
    .execute()
}
