import type { LatencyRatio, LossReason, Measurement, Trial } from '@edgefit/shared/model'
import type * as z from 'zod'
import type { ControllerDatabase, DeviceRow, MeasurementRole } from '../store/schema.ts'

export interface NewTrial {
  readonly deployment: string
  readonly attempt: number
  readonly trial: Trial
  readonly losses: readonly z.infer<typeof LossReason>[]
  readonly position: number
}

/** A trial told twice, as after an interruption, is kept as the newer report has it. */
export async function insertTrial(db: ControllerDatabase, entry: NewTrial): Promise<void> {
  const { trial, position } = entry
  const { outcome } = trial
  const measured = outcome.kind === 'measured' ? outcome : undefined
  const content = {
    recipe_digest: trial.recipeDigest,
    label: trial.recipe.label ?? null,
    outcome: outcome.kind,
    p90_bound_ms: measured?.measurement.latencyMs.p90Bound ?? null,
    accuracy: measured?.measurement.accuracy?.value ?? null,
    size_bytes: measured?.variant.sizeBytes ?? null,
    trial: JSON.stringify(trial),
    losses: JSON.stringify(entry.losses),
    position,
  }
  await db
    .insertInto('trials')
    .values({ deployment_id: entry.deployment, attempt: entry.attempt, trial_id: trial.id, ...content })
    .onConflict((conflict) =>
      conflict
        .columns(['deployment_id', 'attempt', 'trial_id'])
        .doUpdateSet(content)
        .where('trials.position', '<', position),
    )
    .execute()
}

export interface NewMeasurement {
  readonly deployment: string
  readonly attempt: number
  readonly device: DeviceRow
  readonly role: MeasurementRole
  readonly variantDigest: string | null
  readonly measurement: Measurement
  readonly position: number
  readonly rebenchmark?: { readonly change: LatencyRatio; readonly drifted: boolean }
}

/** Re-benchmarks go on for as long as a variant serves. */
const KEPT_PER_ROLE = 1_000

/** Keeps a measurement and its histogram; one told twice is kept as the newer report has it. The oldest are dropped. */
export async function insertMeasurement(db: ControllerDatabase, entry: NewMeasurement): Promise<void> {
  const { measurement, rebenchmark, position } = entry
  const { latencyMs, accuracy, histogram } = measurement
  const content = {
    hardware_class: entry.device.hardware_class,
    variant_digest: entry.variantDigest,
    p50_ms: latencyMs.p50,
    p90_ms: latencyMs.p90,
    p99_ms: latencyMs.p99,
    p90_bound_ms: latencyMs.p90Bound,
    run_count: latencyMs.count,
    accuracy_metric: accuracy?.metric ?? null,
    accuracy: accuracy?.value ?? null,
    size_bytes: measurement.sizeBytes,
    peak_rss_bytes: measurement.peakRssBytes,
    measurement: JSON.stringify({ ...measurement, histogram: '' }),
    change: rebenchmark === undefined ? null : JSON.stringify(rebenchmark.change),
    drifted: rebenchmark === undefined ? null : Number(rebenchmark.drifted),
    position,
  }
  const kept = await db
    .insertInto('measurements')
    .values({
      deployment_id: entry.deployment,
      attempt: entry.attempt,
      device_id: entry.device.id,
      role: entry.role,
      measured_at_ms: measurement.measuredAtMs,
      ...content,
    })
    .onConflict((conflict) =>
      conflict
        .columns(['deployment_id', 'attempt', 'role', 'measured_at_ms'])
        .doUpdateSet(content)
        .where('measurements.position', '<', position),
    )
    .returning('id')
    .executeTakeFirst()
  if (kept === undefined) return
  await db
    .insertInto('latency_histograms')
    .values({ measurement_id: kept.id, histogram })
    .onConflict((conflict) => conflict.column('measurement_id').doUpdateSet({ histogram }))
    .execute()
  await dropSurplus(db, entry)
}

async function dropSurplus(db: ControllerDatabase, { deployment, attempt, role }: NewMeasurement): Promise<void> {
  await db
    .deleteFrom('measurements')
    .where('id', 'in', (surplus) =>
      surplus
        .selectFrom('measurements')
        .select('id')
        .where('deployment_id', '=', deployment)
        .where('attempt', '=', attempt)
        .where('role', '=', role)
        .orderBy('position', 'desc')
        .limit(-1)
        .offset(KEPT_PER_ROLE),
    )
    .execute()
}
