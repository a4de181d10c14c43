import { existsSync } from 'node:fs'
import { EdgefitError } from '@edgefit/shared'
import Database from 'better-sqlite3'
import { Kysely, Migrator, SqliteDialect } from 'kysely'
import { MIGRATIONS } from './migrations/index.ts'
import type { ControllerDatabase, ControllerTables } from './schema.ts'

/**
 * Opens fleet state for its one writer, creating and migrating it as needed. WAL with `synchronous=FULL`: a
 * commit that was acknowledged survives a power cut. Close it with `database.destroy()`.
 *
 * @throws EdgefitError CONFLICT where a newer version of Edgefit wrote the file.
 */
export async function openStore(path: string): Promise<ControllerDatabase> {
  const sqlite = new Database(path)
  sqlite.pragma('journal_mode = WAL')
  sqlite.pragma('synchronous = FULL')
  sqlite.pragma('foreign_keys = ON')
  sqlite.pragma('busy_timeout = 5000')
  const database = kyselyOver(sqlite)
  try {
    const { error } = await migratorFor(database).migrateToLatest()
    if (error !== undefined)
      throw new EdgefitError(
        `cannot migrate ${path}: use the newest Edgefit that has opened it, or restore the copy from before`,
        { code: 'CONFLICT', cause: error },
      )
  } catch (error) {
    await database.destroy()
    throw error
  }
  return database
}

/**
 * Opens fleet state to read it, beside a running controller or without one.
 *
 * @throws EdgefitError NOT_FOUND where there is none, CONFLICT where it is of another version.
 */
export async function openStoreForReading(path: string): Promise<ControllerDatabase> {
  if (!existsSync(path))
    throw new EdgefitError(
      `no fleet state at ${path}: start a controller there first, or name its directory with --data-dir`,
      { code: 'NOT_FOUND' },
    )
  const sqlite = new Database(path, { readonly: true })
  sqlite.pragma('busy_timeout = 5000')
  const database = kyselyOver(sqlite)
  try {
    const applied = await database.selectFrom('kysely_migration').select('name').execute()
    const known = Object.keys(MIGRATIONS)
    const same = applied.length === known.length && applied.every((row) => known.includes(row.name))
    if (!same)
      throw new EdgefitError(
        `${path} is of another version of Edgefit: read it with that one, or start the controller once to migrate it`,
        { code: 'CONFLICT' },
      )
  } catch (error) {
    await database.destroy()
    throw error
  }
  return database
}

function kyselyOver(sqlite: Database.Database): ControllerDatabase {
  return new Kysely<ControllerTables>({ dialect: new SqliteDialect({ database: sqlite }) })
}

function migratorFor(database: ControllerDatabase): Migrator {
  return new Migrator({ db: database, provider: { getMigrations: () => Promise.resolve({ ...MIGRATIONS }) } })
}
