import { EdgefitError } from '@edgefit/shared'
import {
  DEPLOYMENT_STATUSES,
  DeploymentPhase,
  DeploymentStatus,
  Digest,
  Objective,
  Outcome,
  ReasonCode,
  SplitSpec,
} from '@edgefit/shared/model'
import { DeploymentGoal, StatusReport } from '@edgefit/shared/protocol'
import * as z from 'zod'
import { type ControllerDatabase, ROLLOUT_STATES, type RolloutRow } from '../store/schema.ts'

export const RolloutSummary = z.object({
  id: z.string(),
  state: z.enum(ROLLOUT_STATES),
  slot: z.string(),
  model: z.object({ name: z.string(), version: z.int() }),
  dataset: z.object({ name: z.string(), version: z.int() }),
  selector: z.string(),
  objective: Objective,
  /** Deployments by status; only statuses that occur. */
  deployments: z.partialRecord(DeploymentStatus, z.int()),
  createdAtMs: z.int(),
  startedAtMs: z.int().nullable(),
  endedAtMs: z.int().nullable(),
})
export type RolloutSummary = z.infer<typeof RolloutSummary>

export const DeploymentView = z.object({
  id: z.string(),
  device: z.string(),
  deviceOnline: z.boolean(),
  hardwareClass: z.string().nullable(),
  slot: z.string(),
  attempt: z.int(),
  status: DeploymentStatus,
  phase: DeploymentPhase.nullable(),
  reason: ReasonCode.nullable(),
  message: z.string().nullable(),
  outcome: Outcome.nullable(),
  running: Digest.nullable(),
  progress: StatusReport.shape.progress,
  verdict: z.enum(['met', 'infeasible']).nullable(),
  reasons: z.array(z.string()),
  lastReportAtMs: z.int().nullable(),
  startedAtMs: z.int().nullable(),
  endedAtMs: z.int().nullable(),
})
export type DeploymentView = z.infer<typeof DeploymentView>

export const RolloutView = RolloutSummary.extend({
  split: SplitSpec,
  search: DeploymentGoal.shape.search,
  schedule: DeploymentGoal.shape.schedule,
  targets: z.array(DeploymentView),
})
export type RolloutView = z.infer<typeof RolloutView>

/** Newest first. */
export async function loadRollouts(db: ControllerDatabase): Promise<RolloutSummary[]> {
  const rows = await db.selectFrom('rollouts').selectAll().orderBy('created_at_ms', 'desc').orderBy('id').execute()
  const counts = await db
    .selectFrom('deployments')
    .select(({ fn }) => ['rollout_id', 'status', fn.countAll<number>().as('count')])
    .groupBy(['rollout_id', 'status'])
    .execute()
  return rows.map((row) =>
    summary(
      row,
      counts.filter(({ rollout_id }) => rollout_id === row.id),
    ),
  )
}

/** @throws EdgefitError NOT_FOUND */
export async function loadRollout(db: ControllerDatabase, id: string): Promise<RolloutView> {
  const row = await requireRollout(db, id)
  const targets = await loadDeployments(db, id)
  const counts = DEPLOYMENT_STATUSES.map((status) => ({
    status,
    count: targets.filter((target) => target.status === status).length,
  })).filter(({ count }) => count > 0)
  return {
    ...summary(row, counts),
    split: SplitSpec.parse(JSON.parse(row.split)),
    search: DeploymentGoal.shape.search.parse(JSON.parse(row.search)),
    schedule: DeploymentGoal.shape.schedule.parse(JSON.parse(row.schedule)),
    targets,
  }
}

/** @throws EdgefitError NOT_FOUND */
export async function requireRollout(db: ControllerDatabase, id: string): Promise<RolloutRow> {
  const row = await db.selectFrom('rollouts').selectAll().where('id', '=', id).executeTakeFirst()
  if (row !== undefined) return row
  throw new EdgefitError(`no rollout has the id "${id}"; see "edgefit rollout list"`, {
    code: 'NOT_FOUND',
    details: { rollout: id },
  })
}

async function loadDeployments(db: ControllerDatabase, rolloutId: string): Promise<DeploymentView[]> {
  const rows = await db
    .selectFrom('deployments')
    .innerJoin('devices', 'devices.id', 'deployments.device_id')
    .selectAll('deployments')
    .select(['devices.online', 'devices.hardware_class'])
    .where('rollout_id', '=', rolloutId)
    .orderBy('deployments.device_id')
    .execute()
  return rows.map((row) => ({
    id: row.id,
    device: row.device_id,
    deviceOnline: row.online === 1,
    hardwareClass: row.hardware_class,
    slot: row.slot,
    attempt: row.attempt,
    status: row.status,
    phase: row.phase,
    reason: row.reason,
    message: row.message,
    outcome: row.outcome,
    running: row.running_digest,
    progress: row.progress === null ? null : StatusReport.shape.progress.parse(JSON.parse(row.progress)),
    verdict: row.verdict,
    reasons: row.verdict_reasons === null ? [] : z.array(z.string()).parse(JSON.parse(row.verdict_reasons)),
    lastReportAtMs: row.last_report_at_ms,
    startedAtMs: row.started_at_ms,
    endedAtMs: row.ended_at_ms,
  }))
}

function summary(
  row: RolloutRow,
  counts: readonly { readonly status: DeploymentStatus; readonly count: number }[],
): RolloutSummary {
  return {
    id: row.id,
    state: row.state,
    slot: row.slot,
    model: { name: row.model_name, version: row.model_version },
    dataset: { name: row.dataset_name, version: row.dataset_version },
    selector: row.selector,
    objective: Objective.parse(JSON.parse(row.objective)),
    deployments: Object.fromEntries(counts.map(({ status, count }) => [status, count])),
    createdAtMs: row.created_at_ms,
    startedAtMs: row.started_at_ms,
    endedAtMs: row.ended_at_ms,
  }
}
