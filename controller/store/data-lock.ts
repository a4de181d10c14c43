import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { EdgefitError } from '@edgefit/shared'
import Database from 'better-sqlite3'

/** Held while a process owns a data directory. The kernel frees it when the process ends, however it ends. */
export interface DataLock {
  release(): void
}

/**
 * Makes the directory, closed to other users, where it is missing.
 *
 * @throws EdgefitError CONFLICT where another process owns the directory; CONFIG_INVALID where it cannot be written
 */
export async function lockDataDirectory(dataDir: string): Promise<DataLock> {
  // An exclusive SQLite transaction is a lock on the file that works on every platform without an add-on.
  const lock = await openLock(dataDir)
  try {
    lock.exec('BEGIN EXCLUSIVE')
  } catch (cause) {
    lock.close()
    if (!(cause instanceof Database.SqliteError && cause.code.startsWith('SQLITE_BUSY'))) throw unusable(dataDir, cause)
    throw new EdgefitError(
      `another controller runs on ${dataDir}; stop it, or choose another directory with --data-dir`,
      {
        code: 'CONFLICT',
        cause,
        details: { dataDir },
      },
    )
  }
  return { release: () => lock.close() }
}

async function openLock(dataDir: string): Promise<Database.Database> {
  try {
    await mkdir(dataDir, { recursive: true, mode: 0o700 })
    return new Database(join(dataDir, 'controller.lock'), { timeout: 0 })
  } catch (cause) {
    throw unusable(dataDir, cause)
  }
}

function unusable(dataDir: string, cause: unknown): EdgefitError {
  return new EdgefitError(
    `--data-dir: ${dataDir} cannot be written; check that it is a directory of this user, or choose another one`,
    { code: 'CONFIG_INVALID', cause, details: { dataDir } },
  )
}
