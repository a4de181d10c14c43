import { isDeepStrictEqual } from 'node:util'
import type { DeploymentGoal, ReportBody } from '@edgefit/shared/protocol'
import type { DeploymentStore, SlotDeployment } from './deployment-store.ts'
import { newRecord } from './record.ts'

/** Runs one slot to its terminal status; see `runDeployment`. */
export type RunSlot = (deployment: SlotDeployment, signal: AbortSignal) => Promise<void>

export interface SupervisorPorts {
  readonly store: DeploymentStore
  readonly runSlot: RunSlot
  readonly emptySlot: (slot: string) => Promise<void>
  readonly report: (body: ReportBody) => Promise<void>
  /** The slots and goals in force, after every change and at the start. */
  readonly onChange: (deployments: readonly SlotDeployment[]) => Promise<void>
  readonly onError: (slot: string, error: unknown) => void
}

/**
 * Keeps every slot working towards its goal.
 *
 * INVARIANTS: at most one run per slot; a slot's run is stopped, and has stopped, before its goal is replaced; the
 * store holds the newest goals at every moment, so a restart goes on from them.
 */
export interface Supervisor {
  /** Goes on with what is on record. */
  start(): Promise<void>
  /** The goals of a newer desired state. A slot that is absent is emptied. Calls are served one after the other. */
  apply(slots: Readonly<Record<string, DeploymentGoal>>): Promise<void>
  stop(): Promise<void>
}

interface Run {
  readonly abort: AbortController
  readonly ended: Promise<void>
}

export function createSupervisor(ports: SupervisorPorts): Supervisor {
  const { store } = ports
  const runs = new Map<string, Run>()
  let queue: Promise<void> = Promise.resolve()
  let stopped = false

  const begin = (deployment: SlotDeployment): void => {
    const abort = new AbortController()
    const ended = ports.runSlot(deployment, abort.signal).catch((error: unknown) => {
      if (!abort.signal.aborted) ports.onError(deployment.slot, error)
    })
    runs.set(deployment.slot, { abort, ended })
  }

  const halt = async (slot: string): Promise<void> => {
    const run = runs.get(slot)
    runs.delete(slot)
    run?.abort.abort()
    await run?.ended
  }

  const reconcile = async (slots: Readonly<Record<string, DeploymentGoal>>): Promise<void> => {
    const known = new Map((await store.all()).map((deployment) => [deployment.slot, deployment]))
    for (const [slot, { goal }] of known) {
      if (Object.hasOwn(slots, slot)) continue
      await halt(slot)
      await ports.emptySlot(slot)
      await ports.report(removed(slot, goal))
      await store.remove(slot)
    }
    for (const [slot, goal] of Object.entries(slots)) {
      const before = known.get(slot)
      if (before !== undefined && isDeepStrictEqual(before.goal, goal)) continue
      const sameTry = before?.goal.deploymentId === goal.deploymentId && before.goal.attempt === goal.attempt
      await halt(slot)
      // The same try with other particulars (a new schedule) keeps what it has done.
      const record = (sameTry ? (await store.get(slot))?.record : undefined) ?? newRecord(goal.attempt)
      await store.put({ slot, goal, record })
      begin({ slot, goal, record })
    }
    await ports.onChange(await store.all())
  }

  const enqueue = (work: () => Promise<void>): Promise<void> => {
    const next = queue.then(() => (stopped ? undefined : work()))
    queue = next.catch(() => undefined)
    return next
  }

  return {
    start: () =>
      enqueue(async () => {
        const deployments = await store.all()
        for (const deployment of deployments) begin(deployment)
        await ports.onChange(deployments)
      }),
    apply: (slots) => enqueue(() => reconcile(slots)),
    async stop() {
      stopped = true
      await queue
      await Promise.all([...runs.keys()].map(halt))
    },
  }
}

function removed(slot: string, { deploymentId, attempt }: DeploymentGoal): ReportBody {
  return {
    kind: 'status',
    deploymentId,
    attempt,
    slot,
    status: 'removed',
    phase: null,
    reason: 'removed-by-operator',
    message: 'the slot is no longer part of the desired state',
    outcome: null,
    running: null,
    progress: null,
  }
}
