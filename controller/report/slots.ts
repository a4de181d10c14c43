import { parseJsonWith } from '@edgefit/shared'
import { Objective } from '@edgefit/shared/model'
import { loadDevices } from '../fleet/device-view.ts'
import type { ControllerDatabase, DeploymentRow } from '../store/schema.ts'
import { parseModelFilter } from './check-filters.ts'
import type { LatencyRow, ReportFilters } from './latency-report.ts'

/** A slot of a device with what it is to run; without a deployment, a device that has none. */
export interface Slot {
  readonly device: LatencyRow['device']
  readonly deployment:
    | {
        readonly row: DeploymentRow
        readonly model: { readonly name: string; readonly version: number }
        readonly objective: Objective
      }
    | undefined
}

/**
 * The slots a report is about. Without a rollout it is what each device is to run now; with one, what that rollout
 * put there, even where another has replaced it since.
 */
export async function loadSlots(db: ControllerDatabase, filters: ReportFilters): Promise<Slot[]> {
  const [devices, deployments] = await Promise.all([reportedDevices(db, filters), loadDeployments(db, filters)])
  const slots: Slot[] = deployments.flatMap((deployment) => {
    const device = devices.get(deployment.row.device_id)
    return device === undefined ? [] : [{ device, deployment }]
  })
  if (filters.model !== undefined || filters.rollout !== undefined) return slots
  for (const { row } of deployments) devices.delete(row.device_id)
  return [...slots, ...[...devices.values()].map((device) => ({ device, deployment: undefined }))]
}

async function reportedDevices(
  db: ControllerDatabase,
  filters: ReportFilters,
): Promise<Map<string, LatencyRow['device']>> {
  const devices = await loadDevices(db, filters.device === undefined ? {} : { id: filters.device })
  // What a rollout did stays on record; otherwise a device that left the fleet is nobody's concern unless named.
  const anyState = filters.device !== undefined || filters.rollout !== undefined
  return new Map(
    devices
      .filter(({ state, hardwareClass }) => {
        const ofClass = filters.hardwareClass === undefined || hardwareClass === filters.hardwareClass
        return ofClass && (anyState || state === 'accepted')
      })
      .map(({ id, state, labels, online, lastSeenAtMs, hardwareClass, cpuModel }) => [
        id,
        { id, state, labels, online, lastSeenAtMs, hardwareClass, cpuModel },
      ]),
  )
}

async function loadDeployments(
  db: ControllerDatabase,
  filters: ReportFilters,
): Promise<NonNullable<Slot['deployment']>[]> {
  let query = db
    .selectFrom('deployments')
    .innerJoin('rollouts', 'rollouts.id', 'deployments.rollout_id')
    .selectAll('deployments')
    .select(['rollouts.model_name', 'rollouts.model_version', 'rollouts.objective'])
  if (filters.rollout === undefined) {
    query = query.where('deployments.id', 'in', (goals) => goals.selectFrom('slot_goals').select('deployment_id'))
  } else {
    query = query.where('rollouts.id', '=', filters.rollout)
  }
  if (filters.device !== undefined) query = query.where('deployments.device_id', '=', filters.device)
  if (filters.model !== undefined) {
    const { name, version } = parseModelFilter(filters.model)
    query = query.where('rollouts.model_name', '=', name)
    if (version !== undefined) query = query.where('rollouts.model_version', '=', version)
  }
  const rows = await query.execute()
  return rows.map(({ model_name, model_version, objective, ...row }) => ({
    row,
    model: { name: model_name, version: model_version },
    objective: parseJsonWith(Objective, objective, `stored objective of rollout ${row.rollout_id}`, 'INTERNAL'),
  }))
}
