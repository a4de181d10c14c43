import { join } from 'node:path'
import { EdgefitError } from '@edgefit/shared'
import { sqliteDeploymentStore } from '../deploy/deployment-store.ts'
import { openSlotStore } from '../deploy/slots.ts'
import { loadIdentity } from '../link/identity.ts'
import { createOutbox } from '../link/outbox.ts'
import { openAgentDatabase } from '../store/database.ts'
import { formatAccuracy, formatMs } from './format.ts'

export interface AgentStatus {
  readonly device: string
  readonly fleet: string
  readonly broker: string
  /** Reports that the controller has not acknowledged. */
  readonly unacknowledged: number
  readonly slots: readonly SlotStatus[]
}

interface SlotStatus {
  readonly slot: string
  readonly deployment: {
    readonly id: string
    readonly model: string
    readonly status: string
    readonly message: string | null
  } | null
  /** Null where nothing serves, or something that this version of the agent cannot read. */
  readonly active: {
    readonly deployment: string
    readonly variant: string
    readonly label: string | null
    readonly p90BoundMs: number
    readonly accuracy: string
  } | null
}

/** What this box serves and what it is to serve, read from its own state: works without a network and beside a running agent. */
export async function readStatus(stateDir: string, now: () => number): Promise<AgentStatus> {
  const { deviceId, fleet, brokerUrl } = await loadIdentity(stateDir)
  const database = await openAgentDatabase(join(stateDir, 'state.db'))
  try {
    const slots = await openSlotStore(stateDir)
    const deployments = await sqliteDeploymentStore(database, now).all()
    const names = new Set([...deployments.map(({ slot }) => slot), ...(await slots.list())])
    const { count } = await database
      .selectFrom('outbox')
      .select(({ fn }) => fn.countAll<number>().as('count'))
      .executeTakeFirstOrThrow()
    const rows = [...names].sort().map(async (slot): Promise<SlotStatus> => {
      const known = deployments.find((deployment) => deployment.slot === slot)
      const active = (await slots.active(slot))?.runtime
      return {
        slot,
        deployment: known
          ? {
              id: known.goal.deploymentId,
              model: `${known.goal.model.name}@${known.goal.model.version}`,
              status: known.record.terminal?.status ?? 'in_progress',
              message: known.record.terminal?.message ?? null,
            }
          : null,
        active: active
          ? {
              deployment: active.deploymentId,
              variant: active.variant.digest,
              label: active.variant.label,
              p90BoundMs: active.measurement.latencyMs.p90Bound,
              accuracy: formatAccuracy(active.measurement.accuracy),
            }
          : null,
      }
    })
    return { device: deviceId, fleet, broker: brokerUrl, unacknowledged: count, slots: await Promise.all(rows) }
  } finally {
    await database.destroy()
  }
}

export function formatStatus({ device, fleet, broker, unacknowledged, slots }: AgentStatus): string {
  const lines = [`device ${device} of fleet ${fleet}, broker ${broker}, ${unacknowledged} reports not yet acknowledged`]
  if (slots.length === 0) lines.push('no slots: nothing was rolled out to this device yet')
  for (const { slot, deployment, active } of slots) {
    lines.push(
      `slot ${slot}`,
      deployment === null
        ? '  wanted   nothing'
        : `  wanted   ${deployment.model} (${deployment.id}): ${deployment.status}${deployment.message === null ? '' : `, ${deployment.message}`}`,
      active === null
        ? '  serving  nothing'
        : `  serving  ${active.label ?? 'a variant'} ${active.variant.slice(0, 12)} of ${active.deployment}: p90 at most ${formatMs(active.p90BoundMs)}, ${active.accuracy}`,
    )
  }
  return lines.join('\n')
}

/**
 * Returns a slot to the model it served before, and journals that for the controller.
 *
 * @throws EdgefitError NOT_FOUND where there is none
 */
export async function rollBackSlot(stateDir: string, slot: string, now: () => number): Promise<void> {
  await loadIdentity(stateDir)
  const slots = await openSlotStore(stateDir)
  if (!(await slots.list()).includes(slot) || !(await slots.rollBack(slot))) {
    throw new EdgefitError(`slot ${slot} has no previous model to return to: see "edgefit-agent status"`, {
      code: 'NOT_FOUND',
    })
  }
  const database = await openAgentDatabase(join(stateDir, 'state.db'))
  try {
    const outbox = await createOutbox(database, { now })
    await outbox.add({
      kind: 'notice',
      code: 'rolled-back-by-hand',
      message: `slot ${slot} was returned to its previous model on the box`,
    })
  } finally {
    await database.destroy()
  }
}
