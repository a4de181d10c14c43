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
 * @throws EdgefitError CONFLICT where a newer version of Edgefit wrote the file; CONFIG_INVALID where it cannot be
 * opened or is no database.
 */
export async function openStore(path: string): Promise<ControllerDatabase> {
  const database = kyselyOver(
    openFile(path, {}, ['journal_mode = WAL', 'synchronous = FULL', 'foreign_keys = ON', 'busy_timeout = 5000']),
  )
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
 * @throws EdgefitError NOT_FOUND where there is none, CONFLICT where it is of another version; CONFIG_INVALID where it
 * cannot be opened or is no database.
 */
export async function openStoreForReading(path: string): Promise<ControllerDatabase> {
  if (!existsSync(path))
    throw new EdgefitError(
      `no fleet state at ${path}: start a controller there first, or name its directory with --data-dir`,
      { code: 'NOT_FOUND' },
    )
  const database = kyselyOver(openFile(path, { readonly: true }, ['busy_timeout = 5000']))
  try {
    const applied = await appliedMigrations(database, path)
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

function openFile(path: string, options: Database.Options, pragmas: readonly string[]): Database.Database {
  let sqlite: Database.Database | undefined
  try {
    sqlite = new Database(path, options)
    for (const pragma of pragmas) sqlite.pragma(pragma)
    return sqlite
  } catch (cause) {
    sqlite?.close()
    throw unusable(path, cause)
  }
}

async function appliedMigrations(database: ControllerDatabase, path: string): Promise<readonly { name: string }[]> {
  try {
    return await database.selectFrom('kysely_migration').select('name').execute()
  } catch (cause) {
    throw unusable(path, cause)
  }
}

function unusable(path: string, cause: unknown): EdgefitError {
  return new EdgefitError(
    `${path} cannot be used: check that this user may read and write it and its directory; if it is damaged, restore a copy`,
    { code: 'CONFIG_INVALID', cause, details: { path } },
  )
}

function kyselyOver(sqlite: Database.Database): ControllerDatabase {
  return new Kysely<ControllerTables>({ dialect: new SqliteDialect({ database: sqlite }) })
}

function migratorFor(database: ControllerDatabase): Migrator {
  return new Migrator({ db: database, provider: { getMigrations: () => Promise.resolve({ ...MIGRATIONS }) } })
}
