import { isTerminal, Trial } from '@edgefit/shared/model'
import type { Report, ReportBody } from '@edgefit/shared/protocol'
import { recordDeviceEvent } from '../store/record-event.ts'
import type { ControllerDatabase, DeploymentRow, DeviceRow } from '../store/schema.ts'
import { implausible } from './implausible.ts'
import { insertMeasurement, insertTrial } from './results.ts'
import { statusChange } from './status-change.ts'

interface ReportContext {
  readonly db: ControllerDatabase
  readonly device: DeviceRow
  readonly position: number
  readonly nowMs: number
}

type Body<Kind extends ReportBody['kind']> = Extract<ReportBody, { kind: Kind }>

/**
 * Applies one report that was not met before. One about an unknown deployment, or that cannot be true, only leaves an
 * event.
 */
export async function applyReport(context: ReportContext, report: Report): Promise<void> {
  const { db, device, nowMs } = context
  const { body } = report
  if (body.kind === 'notice') {
    const { code, message } = body
    const by = { actor: `device:${device.id}`, subject: `device:${device.id}` }
    return recordDeviceEvent(db, { atMs: nowMs, kind: 'device-notice', ...by, data: { code, message } })
  }
  const deployment = await db
    .selectFrom('deployments')
    .selectAll()
    .where('id', '=', body.deploymentId)
    .where('device_id', '=', device.id)
    .executeTakeFirst()
  if (deployment === undefined) {
    const data = { deployment: body.deploymentId, kind: body.kind }
    const by = { actor: `device:${device.id}`, subject: `device:${device.id}` }
    return recordDeviceEvent(db, { atMs: nowMs, kind: 'report-unmatched', ...by, data })
  }
  const fault = implausible(body, deployment.attempt)
  if (fault !== undefined) {
    const by = { actor: `device:${device.id}`, subject: `deployment:${deployment.id}` }
    return recordDeviceEvent(db, { atMs: nowMs, kind: 'report-refused', ...by, data: { kind: body.kind, fault } })
  }
  await db.updateTable('deployments').set({ last_report_at_ms: nowMs }).where('id', '=', deployment.id).execute()
  switch (body.kind) {
    case 'status':
      return applyStatus(context, deployment, body)
    case 'trial':
      return applyTrial(context, deployment, body)
    case 'result':
      return applyResult(context, deployment, body)
    case 'rebenchmark':
      return applyRebenchmark(context, deployment, body)
  }
}

async function applyStatus(context: ReportContext, deployment: DeploymentRow, body: Body<'status'>): Promise<void> {
  const { db, device, position, nowMs } = context
  const change = statusChange(deployment, body, position, nowMs)
  if (change === undefined) return
  await db.updateTable('deployments').set(change).where('id', '=', deployment.id).execute()
  if (!isTerminal(body.status)) return
  const { attempt, status, reason, message, outcome } = body
  await recordDeviceEvent(db, {
    atMs: nowMs,
    actor: `device:${device.id}`,
    kind: 'deployment-ended',
    subject: `deployment:${deployment.id}`,
    data: { attempt, status, reason, message, outcome, before: deployment.status },
  })
}

async function applyTrial(context: ReportContext, deployment: DeploymentRow, body: Body<'trial'>): Promise<void> {
  const known = body.attempt === deployment.attempt ? deployment.final_losses : null
  const losses: Body<'result'>['losses'] = known === null ? {} : JSON.parse(known)
  await insertTrial(context.db, {
    deployment: deployment.id,
    attempt: body.attempt,
    trial: body.trial,
    losses: losses[body.trial.id] ?? body.trial.losses,
    position: context.position,
  })
}

async function applyResult(context: ReportContext, deployment: DeploymentRow, body: Body<'result'>): Promise<void> {
  const { db, device, position } = context
  const { baseline, winner, attempt } = body
  const origin = { deployment: deployment.id, attempt, device, position }
  await insertMeasurement(db, { ...origin, role: 'baseline', variantDigest: null, measurement: baseline })
  if (winner !== null) {
    const { digest: variantDigest, measurement } = winner
    await insertMeasurement(db, { ...origin, role: 'winner', variantDigest, measurement })
  }
  const newer = deployment.result_position === null || position > deployment.result_position
  if (attempt !== deployment.attempt || !newer) return
  await db
    .updateTable('deployments')
    .set({
      verdict: body.verdict,
      verdict_reasons: JSON.stringify(body.reasons),
      winner_digest: winner?.digest ?? null,
      winner_trial_id: winner?.trialId ?? null,
      final_losses: JSON.stringify(body.losses),
      result_position: position,
    })
    .where('id', '=', deployment.id)
    .execute()
  await settleLosses(db, deployment.id, attempt, body.losses)
}

/** A trial that the result does not name, the winner, keeps what it was reported with. */
async function settleLosses(
  db: ControllerDatabase,
  deployment: string,
  attempt: number,
  final: Body<'result'>['losses'],
): Promise<void> {
  const trials = await db
    .selectFrom('trials')
    .select(['trial_id', 'trial'])
    .where('deployment_id', '=', deployment)
    .where('attempt', '=', attempt)
    .execute()
  for (const { trial_id, trial } of trials) {
    const losses = final[trial_id] ?? Trial.parse(JSON.parse(trial)).losses
    await db
      .updateTable('trials')
      .set({ losses: JSON.stringify(losses) })
      .where('deployment_id', '=', deployment)
      .where('attempt', '=', attempt)
      .where('trial_id', '=', trial_id)
      .execute()
  }
}

async function applyRebenchmark(
  context: ReportContext,
  deployment: DeploymentRow,
  body: Body<'rebenchmark'>,
): Promise<void> {
  const { db, device, position, nowMs } = context
  const { measurement, change, drifted } = body
  await insertMeasurement(db, {
    deployment: deployment.id,
    attempt: deployment.attempt,
    device,
    role: 'rebenchmark',
    variantDigest: null,
    measurement,
    position,
    rebenchmark: { change, drifted },
  })
  if (!drifted) return
  await recordDeviceEvent(db, {
    atMs: nowMs,
    actor: `device:${device.id}`,
    kind: 'latency-drifted',
    subject: `deployment:${deployment.id}`,
    data: { change, p90BoundMs: measurement.latencyMs.p90Bound },
  })
}
