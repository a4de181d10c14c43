import type { ControllerDatabase } from '../store/schema.ts'
import { groupBy } from './group-by.ts'
import type { LatencyRow } from './latency-report.ts'
import type { Slot } from './slots.ts'

type Serving = NonNullable<LatencyRow['serving']>

/** By deployment id: what serves in its slot instead of what it chose, with that variant's latest figures there. */
export async function loadServing(db: ControllerDatabase, slots: readonly Slot[]): Promise<Map<string, Serving>> {
  const others = slots.flatMap(({ deployment }) => {
    const { id, device_id, running_digest: digest, winner_digest } = deployment?.row ?? {}
    return id === undefined || device_id === undefined || !digest || digest === winner_digest
      ? []
      : [{ id, deviceId: device_id, digest }]
  })
  const known = new Map<string, Serving>()
  for (const [deviceId, onDevice] of groupBy(others, (other) => other.deviceId)) {
    const rows = await measuredVariants(
      db,
      deviceId,
      onDevice.map(({ digest }) => digest),
    )
    for (const { id, digest } of onDevice) {
      const row = rows.find(({ variant_digest }) => variant_digest === digest)
      known.set(id, {
        digest,
        model: row ? { name: row.model_name, version: row.model_version } : null,
        label: row?.label ?? null,
        p90BoundMs: row?.p90_bound_ms ?? null,
        measuredAtMs: row?.measured_at_ms ?? null,
      })
    }
  }
  return known
}

/** Newest first. A re-benchmark names no variant: it is of the one its deployment chose. */
function measuredVariants(db: ControllerDatabase, deviceId: string, digests: readonly string[]) {
  return db
    .selectFrom('measurements')
    .innerJoin('deployments', 'deployments.id', 'measurements.deployment_id')
    .innerJoin('rollouts', 'rollouts.id', 'deployments.rollout_id')
    .leftJoin('trials', (join) =>
      join
        .onRef('trials.deployment_id', '=', 'deployments.id')
        .onRef('trials.attempt', '=', 'measurements.attempt')
        .onRef('trials.trial_id', '=', 'deployments.winner_trial_id'),
    )
    .leftJoin('measurements as chosen', (join) =>
      join
        .onRef('chosen.deployment_id', '=', 'measurements.deployment_id')
        .onRef('chosen.attempt', '=', 'measurements.attempt')
        .on('chosen.role', '=', 'winner')
        .on('measurements.role', '=', 'rebenchmark'),
    )
    .select(({ fn }) => [
      fn.coalesce('measurements.variant_digest', 'chosen.variant_digest').as('variant_digest'),
      'measurements.p90_bound_ms',
      'measurements.measured_at_ms',
      'rollouts.model_name',
      'rollouts.model_version',
      'trials.label',
    ])
    .where('measurements.device_id', '=', deviceId)
    .where(({ fn }) => fn.coalesce('measurements.variant_digest', 'chosen.variant_digest'), 'in', digests)
    .orderBy('measurements.id', 'desc')
    .execute()
}
