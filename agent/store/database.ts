import Database from 'better-sqlite3'
import { type Generated, Kysely, Migrator, SqliteDialect } from 'kysely'
import { MIGRATIONS } from './migrations.ts'

/** The agent's journal. One writer: the agent process. JSON columns hold documents of shared/model and shared/protocol. */
export interface AgentTables {
  /** Reports not yet acknowledged by the controller, oldest first; the row goes when the ack comes. */
  outbox: { seq: Generated<number>; at_ms: number; body: string }
  /** Finished trials: what a restarted search does not repeat. */
  trials: { study: string; recipe_digest: string; trial_id: number; trial: string }
  /** One row per slot: what the newest accepted desired state asks, and how far it has come. */
  deployments: { slot: string; deployment_id: string; goal: string; state: string; updated_at_ms: number }
  /** Small single values: journal id, highest accepted desired version, profile. */
  facts: { key: string; value: string }
}

export type AgentDatabase = Kysely<AgentTables>

/**
 * Opens (and migrates) the journal. WAL with `synchronous=FULL`: a commit that was acknowledged survives a power cut.
 * Close it with `database.destroy()`.
 */
export async function openAgentDatabase(path: string): Promise<AgentDatabase> {
  const sqlite = new Database(path)
  sqlite.pragma('journal_mode = WAL')
  sqlite.pragma('synchronous = FULL')
  sqlite.pragma('foreign_keys = ON')
  sqlite.pragma('busy_timeout = 5000')
  const database = new Kysely<AgentTables>({ dialect: new SqliteDialect({ database: sqlite }) })
  const migrator = new Migrator({ db: database, provider: { getMigrations: () => Promise.resolve(MIGRATIONS) } })
  const { error } = await migrator.migrateToLatest()
  if (error !== undefined) throw error
  return database
}
