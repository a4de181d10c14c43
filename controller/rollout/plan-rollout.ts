import type { Objective } from '@edgefit/shared/model'
import * as z from 'zod'
import { type DatasetView, findDataset } from '../catalog/datasets.ts'
import { findModel, type ModelView } from '../catalog/models.ts'
import { type DeviceView, loadDevices } from '../fleet/device-view.ts'
import { selectDevices } from '../fleet/selector.ts'
import type { ControllerDatabase } from '../store/schema.ts'
import { checkRollout, resolveSplit } from './check-rollout.ts'
import { deploymentsInFull } from './deployments-in-full.ts'
import type { RolloutInput } from './rollout-input.ts'

/** What a rollout would do, from what is known now. */
export const RolloutPlan = z.object({
  model: z.object({ name: z.string(), version: z.int() }),
  dataset: z.object({ name: z.string(), version: z.int() }),
  slot: z.string(),
  split: z.object({ calibration: z.int(), tuning: z.int(), evaluation: z.int() }),
  targets: z.array(
    z.object({
      device: z.string(),
      online: z.boolean(),
      hardwareClass: z.string().nullable(),
      /** Model and dataset where the device has not had them from an earlier rollout; an upper bound. */
      bytes: z.int(),
      /** The deployment that gives way, if its slot is still at work. */
      supersedes: z.string().nullable(),
    }),
  ),
  totalBytes: z.int(),
  /** What devices of the same hardware class have measured with this model version. */
  classes: z.array(
    z.object({
      hardwareClass: z.string(),
      devices: z.int(),
      baselineP90BoundMs: z.number().nullable(),
      bestP90BoundMs: z.number().nullable(),
      /** Whether the best known variant is within the latency budget; null where nothing is known. */
      withinBudget: z.boolean().nullable(),
    }),
  ),
})
export type RolloutPlan = z.infer<typeof RolloutPlan>

export interface ResolvedRollout {
  readonly input: z.output<typeof RolloutInput>
  readonly model: ModelView
  readonly dataset: DatasetView
  readonly split: ReturnType<typeof resolveSplit>
  readonly devices: readonly DeviceView[]
}

/**
 * Looks up what the input names and checks that it can work.
 *
 * @throws EdgefitError INPUT_INVALID, NOT_FOUND, DATASET_MISMATCH, DATASET_INVALID
 */
export async function resolveRollout(
  db: ControllerDatabase,
  input: z.output<typeof RolloutInput>,
): Promise<ResolvedRollout> {
  const model = await findModel(db, input.model)
  const dataset = await findDataset(db, input.dataset)
  checkRollout(model, dataset)
  const split = resolveSplit(dataset, input.split, input.search.seed)
  const devices = selectDevices(input.selector, await loadDevices(db, { state: 'accepted' }))
  return { input, model, dataset, split, devices }
}

/** @throws as {@link resolveRollout} */
export async function planRollout(db: ControllerDatabase, input: z.output<typeof RolloutInput>): Promise<RolloutPlan> {
  const { model, dataset, split, devices } = await resolveRollout(db, input)
  const had = await loadHad(db)
  const open = await loadOpen(db, input.slot)
  const targets = devices.map((device) => ({
    device: device.id,
    online: device.online,
    hardwareClass: device.hardwareClass,
    bytes: [model.artifact, dataset.artifact]
      .filter(({ digest }) => !had.has(`${device.id} ${digest}`))
      .reduce((sum, { sizeBytes, manifest }) => sum + sizeBytes + manifest.sizeBytes, 0),
    supersedes: open.get(device.id) ?? null,
  }))
  return {
    model: { name: model.name, version: model.version },
    dataset: { name: dataset.name, version: dataset.version },
    slot: input.slot,
    split: { calibration: split.calibration, tuning: split.tuning, evaluation: split.evaluation },
    targets,
    totalBytes: targets.reduce((sum, { bytes }) => sum + bytes, 0),
    classes: await loadClasses(db, model, input.objective, devices),
  }
}

/** `device digest` of every artifact that a deployment has brought to a device. */
async function loadHad(db: ControllerDatabase): Promise<ReadonlySet<string>> {
  const rows = await deploymentsInFull(db)
    .select(['deployments.device_id', 'models.artifact_digest as model', 'datasets.artifact_digest as dataset'])
    .where('deployments.verdict', 'is not', null)
    .execute()
  return new Set(rows.flatMap(({ device_id, model, dataset }) => [`${device_id} ${model}`, `${device_id} ${dataset}`]))
}

async function loadOpen(db: ControllerDatabase, slot: string): Promise<ReadonlyMap<string, string>> {
  const rows = await db
    .selectFrom('slot_goals')
    .innerJoin('deployments', 'deployments.id', 'slot_goals.deployment_id')
    .select(['deployments.device_id', 'deployments.id'])
    .where('slot_goals.slot', '=', slot)
    .where('deployments.status', 'in', ['queued', 'in_progress'])
    .execute()
  return new Map(rows.map(({ device_id, id }) => [device_id, id]))
}

async function loadClasses(
  db: ControllerDatabase,
  model: ModelView,
  objective: Objective,
  devices: readonly DeviceView[],
): Promise<RolloutPlan['classes']> {
  const measured = await db
    .selectFrom('measurements')
    .innerJoin('deployments', 'deployments.id', 'measurements.deployment_id')
    .innerJoin('rollouts', 'rollouts.id', 'deployments.rollout_id')
    .select(({ fn }) => [
      'measurements.hardware_class',
      'measurements.role',
      fn.min('measurements.p90_bound_ms').as('p90BoundMs'),
    ])
    .where('rollouts.model_name', '=', model.name)
    .where('rollouts.model_version', '=', model.version)
    .where('measurements.role', 'in', ['baseline', 'winner'])
    .groupBy(['measurements.hardware_class', 'measurements.role'])
    .execute()
  const classes = [...new Set(devices.flatMap(({ hardwareClass }) => hardwareClass ?? []))].sort()
  return classes.map((hardwareClass) => {
    const best = (role: 'baseline' | 'winner') =>
      measured.find((row) => row.hardware_class === hardwareClass && row.role === role)?.p90BoundMs ?? null
    const bestP90BoundMs = best('winner')
    return {
      hardwareClass,
      devices: devices.filter((device) => device.hardwareClass === hardwareClass).length,
      baselineP90BoundMs: best('baseline'),
      bestP90BoundMs,
      withinBudget: bestP90BoundMs === null ? null : bestP90BoundMs <= objective.latencyP90Ms,
    }
  })
}
