import { parseJsonWith } from '@edgefit/shared'
import { DeploymentGoal } from '@edgefit/shared/protocol'
import type { AgentDatabase, AgentTables } from '../store/database.ts'
import { DeploymentRecord } from './record.ts'

export interface SlotDeployment {
  readonly slot: string
  readonly goal: DeploymentGoal
  readonly record: DeploymentRecord
}

/** What each slot is to run and how far that has come. Committed to disk when a promise resolves. */
export interface DeploymentStore {
  all(): Promise<readonly SlotDeployment[]>
  get(slot: string): Promise<SlotDeployment | undefined>
  put(deployment: SlotDeployment): Promise<void>
  remove(slot: string): Promise<void>
}

export function sqliteDeploymentStore(database: AgentDatabase, now: () => number): DeploymentStore {
  return {
    async all() {
      return (await database.selectFrom('deployments').selectAll().orderBy('slot').execute()).map(parseRow)
    },
    async get(slot) {
      const row = await database.selectFrom('deployments').selectAll().where('slot', '=', slot).executeTakeFirst()
      return row && parseRow(row)
    },
    async put({ slot, goal, record }) {
      const values = {
        deployment_id: goal.deploymentId,
        goal: JSON.stringify(goal),
        state: JSON.stringify(record),
        updated_at_ms: now(),
      }
      await database
        .insertInto('deployments')
        .values({ slot, ...values })
        .onConflict((conflict) => conflict.column('slot').doUpdateSet(values))
        .execute()
    },
    async remove(slot) {
      await database.deleteFrom('deployments').where('slot', '=', slot).execute()
    },
  }
}

function parseRow({ slot, goal, state }: AgentTables['deployments']): SlotDeployment {
  return {
    slot,
    goal: parseJsonWith(DeploymentGoal, goal, `the stored goal of slot ${slot}`, 'INTERNAL'),
    record: parseJsonWith(DeploymentRecord, state, `the stored deployment of slot ${slot}`, 'INTERNAL'),
  }
}
