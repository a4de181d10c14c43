import cron, { type ScheduledTask } from 'node-cron'
import type { SlotDeployment } from './deployment-store.ts'
import { goalFault } from './goal-fault.ts'

/** Runs work by cron expressions, one task per slot; the local time zone decides. */
export interface Schedule {
  /** Replaces all tasks by those that the deployments ask for. */
  set(deployments: readonly SlotDeployment[]): void
  stop(): void
}

/** `fire` is not called again for a slot while its last call has not settled. It never rejects. */
export function createSchedule(fire: (slot: string) => Promise<void>): Schedule {
  const tasks = new Map<string, { readonly expression: string; readonly task: ScheduledTask }>()
  const drop = (slot: string) => {
    void tasks.get(slot)?.task.destroy()
    tasks.delete(slot)
  }
  return {
    set(deployments) {
      const wanted = new Map(
        deployments.flatMap(({ slot, goal }) =>
          goal.schedule.rebenchmarkCron === null || goalFault(goal) !== undefined
            ? []
            : [[slot, goal.schedule.rebenchmarkCron] as const],
        ),
      )
      for (const [slot, { expression }] of tasks) if (wanted.get(slot) !== expression) drop(slot)
      for (const [slot, expression] of wanted) {
        if (tasks.has(slot)) continue
        const task = cron.schedule(expression, () => fire(slot), { noOverlap: true, suppressMissedWarning: true })
        tasks.set(slot, { expression, task })
      }
    },
    stop() {
      for (const slot of [...tasks.keys()]) drop(slot)
    },
  }
}
