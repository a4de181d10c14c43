import { isTerminal } from '@edgefit/shared/model'
import { changeDeviceState } from '../fleet/device-registry.ts'
import type { ControllerDatabase } from '../store/schema.ts'
import { settleDeployment } from './apply-effects.ts'

/**
 * Takes a device out of the fleet: its open deployments are `removed`, and its slots want nothing any more.
 *
 * @throws EdgefitError NOT_FOUND, CONFLICT
 */
export async function decommissionDevice(db: ControllerDatabase, device: string, nowMs: number): Promise<void> {
  await changeDeviceState(db, device, 'decommissioned', nowMs)
  await db.deleteFrom('slot_goals').where('device_id', '=', device).execute()
  await db.deleteFrom('desired_states').where('device_id', '=', device).execute()
  const deployments = await db
    .selectFrom('deployments')
    .select(['id', 'status'])
    .where('device_id', '=', device)
    .execute()
  for (const { id, status } of deployments) {
    if (isTerminal(status)) continue
    await settleDeployment(
      { db, actor: 'operator', nowMs },
      {
        deploymentId: id,
        status: 'removed',
        reason: 'removed-by-operator',
        message: 'the device was decommissioned',
      },
    )
  }
}
