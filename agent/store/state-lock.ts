import { join } from 'node:path'
import { EdgefitError } from '@edgefit/shared'
import Database from 'better-sqlite3'

/** Held for as long as an agent runs on a state folder; the kernel lets go of it when the process dies, however it dies. */
export interface StateLock {
  release(): void
}

/** @throws EdgefitError CONFLICT where another agent runs on this folder */
export function lockState(stateDir: string): StateLock {
  // An exclusive transaction of SQLite is a file lock with no stale state, on every system it runs on.
  const database = new Database(join(stateDir, 'agent.lock'), { timeout: 0 })
  try {
    database.pragma('locking_mode = EXCLUSIVE')
    database.exec('BEGIN EXCLUSIVE')
  } catch (cause) {
    database.close()
    throw new EdgefitError(`another edgefit-agent runs on ${stateDir}: stop it, or give --state another folder`, {
      code: 'CONFLICT',
      cause,
    })
  }
  return { release: () => void database.close() }
}
