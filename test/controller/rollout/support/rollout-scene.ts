import type { StatusReport } from '@edgefit/shared/protocol'
import { onTestFinished } from 'vitest'
import { createIngest } from '../../../../controller/fleet/ingest.ts'
import { issueDesired } from '../../../../controller/rollout/desired-state.ts'
import { RolloutInput } from '../../../../controller/rollout/rollout-input.ts'
import { loadRollout } from '../../../../controller/rollout/rollout-view.ts'
import { createRollouts, type Rollouts } from '../../../../controller/rollout/rollouts.ts'
import { createCommitQueue } from '../../../../controller/store/commit-queue.ts'
import { openStore } from '../../../../controller/store/open-store.ts'
import type { ControllerDatabase } from '../../../../controller/store/schema.ts'
import { batchOf, insertCatalog, insertDevice, NOW_MS, report, status } from '../../fleet/fixtures.ts'

export interface RolloutScene {
  readonly db: ControllerDatabase
  readonly rollouts: Rollouts
  readonly clock: { nowMs: number }
  /** The devices of each change of goals. */
  readonly changed: string[][]
  /** A device reports a status. */
  tell(device: string, deploymentId: string, overrides: Partial<StatusReport>): Promise<void>
  /** What each slot of the device is to run, as `deployment/attempt`. */
  slotsOf(device: string): Promise<Readonly<Record<string, string>>>
  /** The state of the rollout, then `device status` for each target. */
  statuses(id: string): Promise<readonly string[]>
}

/** A catalog, the accepted devices `pi-1` and `pi-2` and the pending `stranger`, until the test ends. */
export async function openRolloutScene(): Promise<RolloutScene> {
  const db = await openStore(':memory:')
  onTestFinished(() => db.destroy())
  await insertCatalog(db)
  await insertDevice(db, 'pi-1')
  await insertDevice(db, 'pi-2')
  await insertDevice(db, 'stranger', { state: 'pending' })
  const clock = { nowMs: NOW_MS }
  const changed: string[][] = []
  let ids = 0
  let seq = 0
  const rollouts = createRollouts({
    db,
    now: () => clock.nowMs,
    newId: () => String(++ids),
    listeningSinceMs: () => NOW_MS,
    onGoalsChanged: (devices) => changed.push([...devices]),
  })
  const ingest = createIngest({ commits: createCommitQueue(db), now: () => clock.nowMs })
  return {
    db,
    rollouts,
    clock,
    changed,
    async tell(device, deploymentId, overrides) {
      seq += 1
      await ingest.accept(device, batchOf([report(seq, status({ deploymentId, ...overrides }))]))
    },
    async slotsOf(device) {
      const { slots } = await issueDesired(db, 'default', device, clock.nowMs)
      return Object.fromEntries(
        Object.entries(slots).map(([slot, goal]) => [slot, `${goal.deploymentId}/${goal.attempt}`]),
      )
    },
    async statuses(id) {
      const { state, targets } = await loadRollout(db, id)
      return [state, ...targets.map((target) => `${target.device} ${target.status}`)]
    },
  }
}

/** A rollout of the catalog's model to all devices. */
export function input(overrides: object = {}) {
  const base = { model: 'net', dataset: 'data', selector: 'all', objective: { latencyP90Ms: 10 } }
  return RolloutInput.parse({ ...base, ...overrides })
}

export const succeeded = { status: 'succeeded', phase: null, reason: 'objective-met', outcome: 'activated' } as const
