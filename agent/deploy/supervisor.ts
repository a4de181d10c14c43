import { setTimeout as sleep } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import type { DeploymentGoal, ReportBody, StatusReport } from '@edgefit/shared/protocol'
import type { DeploymentStore, SlotDeployment } from './deployment-store.ts'
import { newRecord } from './record.ts'
import { statusReport } from './status-report.ts'

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
  /** How long after such an error the slot goes on from its record. Default a minute. */
  readonly retryMs?: number
}

const RETRY_MS = 60_000

/**
 * Keeps every slot working towards its goal.
 *
 * INVARIANTS: at most one run per slot; a slot's run is stopped, and has stopped, before its goal is replaced; the
 * store holds the newest goals at every moment, so a restart goes on from them. A run that fails without a terminal
 * status, because the journal could not be written, is tried again: nobody can reach the box to restart it.
 */
export interface Supervisor {
  /** Goes on with what is on record. */
  start(): Promise<void>
  /** The goals of a newer desired state. A slot that is absent is emptied. Calls are served one after the other. */
  apply(slots: Readonly<Record<string, DeploymentGoal>>): Promise<void>
  /** Reports the end of deployments that this agent cannot take on. Those it has taken on end by themselves. */
  refuse(reports: readonly StatusReport[]): Promise<void>
  stop(): Promise<void>
}

interface Run {
  readonly abort: AbortController
  readonly ended: Promise<void>
}

export function createSupervisor(ports: SupervisorPorts): Supervisor {
  const { store, retryMs = RETRY_MS } = ports
  const runs = new Map<string, Run>()
  /** A retained message comes again with every connection. */
  const refused = new Set<string>()
  let queue: Promise<void> = Promise.resolve()
  let again: NodeJS.Timeout | undefined
  let stopped = false

  const begin = (deployment: SlotDeployment): void => {
    const abort = new AbortController()
    runs.set(deployment.slot, { abort, ended: work(deployment, abort.signal) })
  }

  const work = async (start: SlotDeployment, signal: AbortSignal): Promise<void> => {
    const { slot } = start
    let deployment = start
    while (!signal.aborted) {
      try {
        return await ports.runSlot(deployment, signal)
      } catch (error) {
        if (signal.aborted) return
        ports.onError(slot, error)
      }
      await sleep(retryMs, undefined, { signal }).catch(() => undefined)
      deployment = (await store.get(slot).catch(() => undefined)) ?? deployment
    }
  }

  const halt = async (slot: string): Promise<void> => {
    const run = runs.get(slot)
    runs.delete(slot)
    run?.abort.abort()
    await run?.ended
  }

  const reconcile = async (slots: Readonly<Record<string, DeploymentGoal>>): Promise<void> => {
    const known = new Map((await store.all()).map((deployment) => [deployment.slot, deployment]))
    const changes = [
      ...[...known.values()].flatMap(({ slot, goal }) =>
        Object.hasOwn(slots, slot) ? [] : [{ slot, change: () => remove(slot, goal) }],
      ),
      ...Object.entries(slots).map(([slot, goal]) => ({ slot, change: () => replace(slot, goal, known.get(slot)) })),
    ]
    clearTimeout(again)
    for (const { slot, change } of changes) {
      try {
        await change()
      } catch (error) {
        // What fails in one slot holds up no other.
        ports.onError(slot, error)
        clearTimeout(again)
        again = setTimeout(() => void enqueue(() => reconcile(slots)).catch(() => undefined), retryMs)
      }
    }
    await ports.onChange(await store.all())
  }

  const remove = async (slot: string, goal: DeploymentGoal): Promise<void> => {
    await halt(slot)
    await ports.emptySlot(slot)
    await ports.report(removed(slot, goal))
    await store.remove(slot)
  }

  const replace = async (slot: string, goal: DeploymentGoal, before: SlotDeployment | undefined): Promise<void> => {
    if (before !== undefined && runs.has(slot) && isDeepStrictEqual(before.goal, goal)) return
    await halt(slot)
    // The same try with other particulars (a new schedule) keeps what it has done.
    const record =
      (isSameTry(before?.goal, goal) ? (await store.get(slot))?.record : undefined) ?? newRecord(goal.attempt)
    await store.put({ slot, goal, record })
    begin({ slot, goal, record })
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
    refuse: (reports) =>
      enqueue(async () => {
        for (const report of reports) {
          const name = `${report.deploymentId}/${report.attempt}`
          if (refused.has(name) || isSameTry((await store.get(report.slot))?.goal, report)) continue
          await ports.report(report)
          refused.add(name)
        }
      }),
    async stop() {
      stopped = true
      await queue
      clearTimeout(again)
      await Promise.all([...runs.keys()].map(halt))
    },
  }
}

type Try = Pick<DeploymentGoal, 'deploymentId' | 'attempt'>

function isSameTry(one: Try | undefined, other: Try): boolean {
  return one?.deploymentId === other.deploymentId && one.attempt === other.attempt
}

function removed(slot: string, goal: DeploymentGoal): ReportBody {
  const message = 'the slot is no longer part of the desired state'
  return statusReport(slot, goal, { status: 'removed', reason: 'removed-by-operator', message })
}
