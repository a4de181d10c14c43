import { DeploymentPhase, DeploymentStatus, Digest } from '@edgefit/shared/model'
import * as z from 'zod'
import type { ControllerDatabase } from '../store/schema.ts'

/** What a slot of a device is to run. */
export const SlotView = z.object({
  slot: z.string(),
  deployment: z.string(),
  rollout: z.string(),
  model: z.object({ name: z.string(), version: z.int() }),
  status: DeploymentStatus,
  phase: DeploymentPhase.nullable(),
  running: Digest.nullable(),
})
type SlotView = z.infer<typeof SlotView>

export async function loadSlots(db: ControllerDatabase, device: string): Promise<SlotView[]> {
  const rows = await db
    .selectFrom('slot_goals')
    .innerJoin('deployments', 'deployments.id', 'slot_goals.deployment_id')
    .innerJoin('rollouts', 'rollouts.id', 'deployments.rollout_id')
    .selectAll('deployments')
    .select(['rollouts.model_name', 'rollouts.model_version'])
    .where('slot_goals.device_id', '=', device)
    .orderBy('slot_goals.slot')
    .execute()
  return rows.map((row) => ({
    slot: row.slot,
    deployment: row.id,
    rollout: row.rollout_id,
    model: { name: row.model_name, version: row.model_version },
    status: row.status,
    phase: row.phase,
    running: row.running_digest,
  }))
}
