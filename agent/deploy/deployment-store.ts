import { DeploymentGoal } from '@edgefit/shared/protocol'
import * as z from 'zod'
import type { AgentDatabase, AgentTables } from '../store/database.ts'
import { DeploymentRecord } from './record.ts'

export interface SlotDeployment {
  readonly slot: string
  readonly goal: DeploymentGoal
  readonly record: DeploymentRecord
}

/**
 * What each slot is to run and how far that has come. Committed to disk when a promise resolves.
 *
 * A row that another version of the agent has written in another shape counts as none: the controller sends the goals
 * anew with every connection.
 */
export interface DeploymentStore {
  all(): Promise<readonly SlotDeployment[]>
  get(slot: string): Promise<SlotDeployment | undefined>
  put(deployment: SlotDeployment): Promise<void>
  remove(slot: string): Promise<void>
}

const Row = z.object({ slot: z.string(), goal: DeploymentGoal, record: DeploymentRecord })

export function sqliteDeploymentStore(database: AgentDatabase, now: () => number): DeploymentStore {
  return {
    async all() {
      return (await database.selectFrom('deployments').selectAll().orderBy('slot').execute()).flatMap(
        (row) => parseRow(row) ?? [],
      )
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

function parseRow({ slot, goal, state }: AgentTables['deployments']): SlotDeployment | undefined {
  const parsed = Row.safeParse({ slot, goal: JSON.parse(goal), record: JSON.parse(state) })
  return parsed.data
}
