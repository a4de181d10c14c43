import { createWriteStream } from 'node:fs'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { EdgefitError } from '@edgefit/shared'
import { asDiskFull } from '@edgefit/shared/artifact'

/** Files on their way into the catalog. What is not used within the hour goes; nothing survives a restart. */
export interface Uploads {
  /** Streams a file to disk and gives the id to use it by. @throws EdgefitError DISK_FULL */
  receive(content: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<string>
  /** Runs `work` on the file, then removes it. @throws EdgefitError NOT_FOUND */
  use<Result>(id: string, work: (path: string) => Promise<Result>): Promise<Result>
  /** Removes what nobody came back for. */
  sweep(): Promise<void>
}

const LIFE_MS = 3_600_000

export interface UploadsOptions {
  /** Emptied first. */
  readonly directory: string
  readonly now: () => number
  readonly newId: () => string
}

export async function openUploads({ directory, now, newId }: UploadsOptions): Promise<Uploads> {
  await rm(directory, { recursive: true, force: true })
  await mkdir(directory, { recursive: true, mode: 0o700 })
  const receivedAtMs = new Map<string, number>()
  const path = (id: string) => join(directory, id)

  async function remove(id: string): Promise<void> {
    receivedAtMs.delete(id)
    await rm(path(id), { force: true })
  }

  return {
    async receive(content, signal) {
      const id = newId()
      try {
        await pipeline(content, createWriteStream(path(id), { flags: 'wx', mode: 0o600 }), { signal })
      } catch (error) {
        await remove(id)
        throw asDiskFull(error, directory)
      }
      receivedAtMs.set(id, now())
      return id
    },
    async use(id, work) {
      if (!receivedAtMs.delete(id))
        throw new EdgefitError(`upload "${id}" is unknown or was used already; upload the file again`, {
          code: 'NOT_FOUND',
          details: { upload: id },
        })
      try {
        return await work(path(id))
      } finally {
        await remove(id)
      }
    },
    async sweep() {
      for (const [id, atMs] of receivedAtMs) if (now() - atMs > LIFE_MS) await remove(id)
    },
  }
}
