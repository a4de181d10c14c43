import { EdgefitError } from '@edgefit/shared'
import { DeploymentGoal } from '@edgefit/shared/protocol'
import type * as z from 'zod'
import { loadDevices } from '../fleet/device-view.ts'
import { selectDevices } from '../fleet/selector.ts'
import { recordEvent } from '../store/record-event.ts'
import type { ControllerDatabase, RolloutRow, RolloutState } from '../store/schema.ts'
import { applyEffects, type EffectContext } from './apply-effects.ts'
import { decideAbort, decideRetry, decideStart, decideTick, type RolloutEffect } from './decide.ts'
import { loadDeploymentFacts, loadRunningRollouts, loadTargetFacts } from './facts.ts'
import { resolveRollout } from './plan-rollout.ts'
import type { RolloutInput } from './rollout-input.ts'
import { requireRollout } from './rollout-view.ts'

export interface RolloutsOptions {
  readonly db: ControllerDatabase
  readonly now: () => number
  /** A few letters and digits, others on every call. */
  readonly newId: () => string
  /** See `TickFacts`. */
  readonly listeningSinceMs: () => number | undefined
  /** Told, after the commit, whose goal may have changed. */
  readonly onGoalsChanged: (devices: Iterable<string>) => void
}

/**
 * Invariant: a rollout, its deployments, the slots and the event log change together or not at all, and devices are
 * told only afterwards.
 */
export interface Rollouts {
  /**
   * Gives the id of the new rollout, a draft unless `start`.
   *
   * @throws EdgefitError INPUT_INVALID, NOT_FOUND, DATASET_MISMATCH, DATASET_INVALID
   */
  create(input: z.output<typeof RolloutInput>, start: boolean): Promise<string>
  /** Starts a draft on the devices that match now. @throws EdgefitError NOT_FOUND, CONFLICT, INPUT_INVALID */
  start(id: string): Promise<void>
  /** Aborting an aborted one changes nothing. @throws EdgefitError NOT_FOUND, CONFLICT */
  abort(id: string): Promise<void>
  /** Another attempt for what failed or timed out. @throws EdgefitError NOT_FOUND, CONFLICT */
  retry(id: string): Promise<void>
  /** Time has passed: ends what has run out of it. */
  tick(): Promise<void>
}

/** The shortest phase limit is many minutes, so this is often enough. */
const EXPIRY_CHECK_MS = 15_000

export function createRollouts({ db, now, newId, listeningSinceMs, onGoalsChanged }: RolloutsOptions): Rollouts {
  let nextExpiryCheckMs = 0

  async function change(
    actor: EffectContext['actor'],
    id: string,
    decide: (trx: ControllerDatabase, rollout: RolloutRow) => Promise<readonly RolloutEffect[]>,
  ): Promise<void> {
    const changed = await db.transaction().execute(async (trx) => {
      const rollout = await requireRollout(trx, id)
      return await applyEffects({ db: trx, rollout, actor, nowMs: now() }, await decide(trx, rollout))
    })
    onGoalsChanged(changed)
  }

  async function start(id: string): Promise<void> {
    await change('operator', id, async (trx, rollout) => {
      requireState(rollout, ['draft'], 'started')
      const devices = selectDevices(rollout.selector, await loadDevices(trx, { state: 'accepted' }))
      const ids = devices.map((device) => device.id)
      return decideStart(await loadTargetFacts(trx, ids, rollout.slot), id)
    })
  }

  return {
    async create(input, startNow) {
      const { model, dataset, split } = await resolveRollout(db, input)
      const id = `r-${newId()}`
      const nowMs = now()
      await db.transaction().execute(async (trx) => {
        await trx
          .insertInto('rollouts')
          .values({
            id,
            state: 'draft',
            slot: input.slot,
            model_name: model.name,
            model_version: model.version,
            dataset_name: dataset.name,
            dataset_version: dataset.version,
            split: JSON.stringify(split),
            objective: JSON.stringify(input.objective),
            selector: input.selector,
            search: JSON.stringify(input.search),
            schedule: JSON.stringify(input.schedule),
            created_at_ms: nowMs,
          })
          .execute()
        await recordEvent(trx, {
          atMs: nowMs,
          actor: 'operator',
          kind: 'rollout-created',
          subject: `rollout:${id}`,
          data: { model: `${model.name}@${model.version}`, selector: input.selector },
        })
      })
      if (startNow) await start(id)
      return id
    },
    start,
    async abort(id) {
      await change('operator', id, async (trx, rollout) => {
        if (rollout.state === 'aborted') return []
        return decideAbort(await loadDeploymentFacts(trx, id, 'all'))
      })
    },
    async retry(id) {
      await change('operator', id, async (trx, rollout) => {
        requireState(rollout, ['running', 'finished'], 'retried')
        const effects = decideRetry(await loadDeploymentFacts(trx, id, 'all'))
        if (effects.length > 0) return effects
        throw new EdgefitError(`rollout "${id}" has nothing to retry: no deployment that it still holds has failed`, {
          code: 'CONFLICT',
          details: { rollout: id },
        })
      })
    },
    async tick() {
      const nowMs = now()
      const sinceMs = listeningSinceMs()
      const expiryDue = nowMs >= nextExpiryCheckMs || nowMs < nextExpiryCheckMs - EXPIRY_CHECK_MS
      if (expiryDue) nextExpiryCheckMs = nowMs + EXPIRY_CHECK_MS
      for (const { id, open } of await loadRunningRollouts(db)) {
        if (!expiryDue && open !== 0) continue
        await change('controller', id, async (trx, rollout) => {
          // Between the query and this transaction an operator may have aborted it.
          if (rollout.state !== 'running') return []
          const { budgetS: searchBudgetS } = DeploymentGoal.shape.search.parse(JSON.parse(rollout.search))
          const deployments = await loadDeploymentFacts(trx, id, 'open')
          return decideTick({ deployments, searchBudgetS, listeningSinceMs: sinceMs }, nowMs)
        })
      }
    },
  }
}

/** @throws EdgefitError CONFLICT */
function requireState({ id, state }: RolloutRow, allowed: readonly RolloutState[], verb: string): void {
  if (allowed.includes(state)) return
  throw new EdgefitError(`rollout "${id}" is ${state} and cannot be ${verb}; create a new one`, {
    code: 'CONFLICT',
    details: { rollout: id, state },
  })
}
