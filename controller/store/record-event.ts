import type { ControllerDatabase } from './schema.ts'

export const EVENT_KINDS = [
  'device-enrolled',
  'device-accepted',
  'device-rejected',
  'device-decommissioned',
  'device-labelled',
  'device-notice',
  'enrolment-refused',
  'token-created',
  'model-published',
  'dataset-published',
  'rollout-created',
  'rollout-started',
  'rollout-finished',
  'rollout-aborted',
  'deployment-ended',
  'deployment-retried',
  'report-unmatched',
  'latency-drifted',
] as const
export type EventKind = (typeof EVENT_KINDS)[number]

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
