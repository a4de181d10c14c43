import { open, rename, rm, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { EdgefitError } from '../errors.ts'

/**
 * Writes a file that others depend on: into `temporaryPath` (same file system), to disk, then renamed into place, so
 * that after a crash at any point there is the old file or the new one. Nothing is left behind by a failure.
 *
 * @throws EdgefitError DISK_FULL.
 */
export async function writeFileAtomic(path: string, content: Uint8Array, temporaryPath = `${path}.new`): Promise<void> {
  await writeFileSynced(temporaryPath, content)
  await orRemove(temporaryPath, () => renameDurably(temporaryPath, path))
}

/**
 * Writes a file and waits until it is on disk. A file that could not be completed is removed.
 *
 * @throws EdgefitError DISK_FULL.
 */
export async function writeFileSynced(path: string, content: Uint8Array | AsyncIterable<Uint8Array>): Promise<void> {
  await orRemove(path, async () => {
    const file = await open(path, 'w')
    try {
      await writeFile(file, content)
      await file.sync()
    } finally {
      await file.close()
    }
  })
}

/** Runs `action`; when it fails, removes the file at `path` and throws, a full disk as the typed error. */
export async function orRemove(path: string, action: () => Promise<void>): Promise<void> {
  try {
    await action()
  } catch (error) {
    await rm(path, { force: true })
    throw asDiskFull(error, path)
  }
}

/** Renames within a file system and makes the new name survive a power cut. The content must be on disk already. */
export async function renameDurably(from: string, to: string): Promise<void> {
  await rename(from, to)
  await syncDirectory(dirname(to))
}

export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}

/** "No space left" and "quota exceeded" as the typed error; anything else as it is. */
export function asDiskFull(error: unknown, path: string): unknown {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  if (code !== 'ENOSPC' && code !== 'EDQUOT') return error
  return new EdgefitError(`${path}: no space left on the disk; free some and try again`, {
    code: 'DISK_FULL',
    cause: error,
    details: { path },
  })
}
