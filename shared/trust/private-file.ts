import { randomUUID } from 'node:crypto'
import { mkdir, open, readFile, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { renameDurably } from '../artifact/atomic-file.ts'
import { exportSigningKey, generateSigningKey, importSigningKey, type SigningKey } from './keys.ts'

/**
 * Writes a file that only its owner may read, whole or not at all: a power cut leaves the old content or the new.
 * Missing folders are made, closed to others.
 */
export async function writePrivateFile(path: string, text: string): Promise<void> {
  const folder = dirname(path)
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const temporary = `${path}.${randomUUID()}.tmp`
  try {
    const file = await open(temporary, 'wx', 0o600)
    try {
      await file.writeFile(text)
      await file.sync()
    } finally {
      await file.close()
    }
    await renameDurably(temporary, path)
  } catch (error) {
    await rm(temporary, { force: true })
    throw error
  }
}

/** Reads the key at `path`, or makes one and keeps it there when there is no file. */
export async function loadOrCreateSigningKey(path: string): Promise<SigningKey> {
  const pem = await readIfPresent(path)
  if (pem !== undefined) return importSigningKey(pem, path)
  const key = generateSigningKey()
  await writePrivateFile(path, exportSigningKey(key))
  return key
}

/** `undefined` when there is no such file. */
export async function readIfPresent(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
}
