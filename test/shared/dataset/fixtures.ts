import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach } from 'vitest'

/** Path of a file that NumPy wrote; see test/fixtures/npz/README.md. */
export function npz(name: string): string {
  return fileURLToPath(new URL(`../../fixtures/npz/${name}.npz`, import.meta.url))
}

/** Gives each test directories of its own, removed after it. */
export function temporaryDirectories(): () => Promise<string> {
  const made: string[] = []
  afterEach(async () => {
    await Promise.all(made.splice(0).map((dir) => rm(dir, { recursive: true, force: true })))
  })
  return async () => {
    const dir = await mkdtemp(join(tmpdir(), 'edgefit-dataset-'))
    made.push(dir)
    return dir
  }
}

export const soon = () => AbortSignal.timeout(20_000)
