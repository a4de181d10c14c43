import { join } from 'node:path'
import { EdgefitError } from '@edgefit/shared'
import Database from 'better-sqlite3'

/** Held while a process owns a data directory. The kernel frees it when the process ends, however it ends. */
export interface DataLock {
  release(): void
}

/** @throws EdgefitError CONFLICT where another process owns the directory */
export function lockDataDirectory(dataDir: string): DataLock {
  // An exclusive SQLite transaction is a lock on the file that works on every platform without an add-on.
  const lock = new Database(join(dataDir, 'controller.lock'), { timeout: 0 })
  try {
    lock.exec('BEGIN EXCLUSIVE')
  } catch (cause) {
    lock.close()
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
