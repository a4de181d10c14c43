import { rename, rm } from 'node:fs/promises'
import { EdgefitError, isEdgefitError } from '@edgefit/shared'
import Database from 'better-sqlite3'
import { type Generated, Kysely, Migrator, SqliteDialect } from 'kysely'
import { MIGRATIONS } from './migrations.ts'

/** The agent's journal. One writer: the agent process. JSON columns hold documents of shared/model and shared/protocol. */
export interface AgentTables {
  /** Reports not yet acknowledged by the controller, oldest first; the row goes when the ack comes. */
  outbox: { seq: Generated<number>; at_ms: number; body: string }
  /** Finished trials: what a restarted search does not repeat. */
  trials: { study: string; recipe_digest: string; trial_id: number; trial: string; resolved: string | null }
  /** Layers by what leaving them in float wins and costs: measured once for a recipe of a study. */
  rankings: { study: string; recipe_digest: string; layers: string }
  /** One row per slot: what the newest accepted desired state asks, and how far it has come. */
  deployments: { slot: string; deployment_id: string; goal: string; state: string; updated_at_ms: number }
  /** Small single values: journal id, highest accepted desired version, profile. */
  facts: { key: string; value: string }
}

export type AgentDatabase = Kysely<AgentTables>

/**
 * Opens (and migrates) the journal. WAL with `synchronous=FULL`: a commit that was acknowledged survives a power cut.
 * Close it with `database.destroy()`.
 *
 * @throws EdgefitError CONFLICT where the file is damaged or a newer agent wrote it
 */
export async function openAgentDatabase(path: string): Promise<AgentDatabase> {
  const sqlite = new Database(path)
  try {
    sqlite.pragma('journal_mode = WAL')
    sqlite.pragma('synchronous = FULL')
    sqlite.pragma('foreign_keys = ON')
    sqlite.pragma('busy_timeout = 5000')
    const found = sqlite.pragma('quick_check(1)', { simple: true })
    if (found !== 'ok') throw unusable(path, `is damaged: ${String(found)}`)
    const database = new Kysely<AgentTables>({ dialect: new SqliteDialect({ database: sqlite }) })
    const migrator = new Migrator({ db: database, provider: { getMigrations: () => Promise.resolve(MIGRATIONS) } })
    const { error } = await migrator.migrateToLatest()
    if (error !== undefined) throw error
    return database
  } catch (error) {
    sqlite.close()
    throw explained(path, error)
  }
}

/**
 * As {@link openAgentDatabase}, but what cannot be used is set aside as `{path}.unusable` and a new journal begun: the
 * models in the slots and the artifacts are not in it, and the controller sends its goals anew. `replaced` says why.
 */
export async function openOrReplaceAgentDatabase(
  path: string,
): Promise<{ readonly database: AgentDatabase; readonly replaced: string | undefined }> {
  try {
    return { database: await openAgentDatabase(path), replaced: undefined }
  } catch (error) {
    if (!isEdgefitError(error, 'CONFLICT')) throw error
    for (const suffix of ['-wal', '-shm']) await rm(path + suffix, { force: true })
    await rename(path, `${path}.unusable`)
    return { database: await openAgentDatabase(path), replaced: error.message }
  }
}

function explained(path: string, error: unknown): unknown {
  if (error instanceof Database.SqliteError && /^SQLITE_(NOTADB|CORRUPT)/.test(error.code)) {
    return unusable(path, `is damaged: ${error.message}`, error)
  }
  if (error instanceof Error && error.message.includes('previously executed migration')) {
    return unusable(path, 'was written by a newer edgefit-agent', error)
  }
  return error
}

function unusable(path: string, why: string, cause?: Error): EdgefitError {
  return new EdgefitError(
    `${path} ${why}; "edgefit-agent run" sets it aside and begins a new one, without the reports that were not yet sent`,
    { code: 'CONFLICT', cause },
  )
}
