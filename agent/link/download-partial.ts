import { constants, type FileHandle, open } from 'node:fs/promises'
import { asDiskFull, chunkAt, isChunk, type Manifest, manifestLayout } from '@edgefit/shared/artifact'

/** Written bytes after which the disk is asked to catch up, so that a power cut costs little and the end comes soon. */
const FLUSH_EVERY_BYTES = 8 * 2 ** 20

/**
 * An artifact being put together in a file of its final size, chunks in any order.
 *
 * The file is its own journal: a chunk is there if its bytes have its digest. So a download that was cut off, by a
 * crash or by the power, goes on from what the disk really holds, and nothing else has to be kept in step with it.
 */
export interface PartialFile {
  /** Reads the file and says which chunks are there. */
  present(signal: AbortSignal): Promise<ReadonlySet<number>>
  /** @throws EdgefitError DISK_FULL. */
  write(index: number, bytes: Uint8Array): Promise<void>
  /** Brings everything to disk. */
  sync(): Promise<void>
  close(): Promise<void>
}

/**
 * Opens the file at `path` or creates it, sparse: the space is not reserved.
 *
 * @throws EdgefitError DISK_FULL.
 */
export async function openPartialFile(path: string, manifest: Manifest): Promise<PartialFile> {
  const layout = manifestLayout(manifest)
  const file = await open(path, constants.O_RDWR | constants.O_CREAT, 0o644).catch(orDiskFull(path))
  const { size } = await file.stat()
  if (size !== manifest.sizeBytes) await file.truncate(manifest.sizeBytes).catch(orDiskFull(path))
  let unflushedBytes = 0
  let flushing: Promise<void> | undefined

  function flush(): void {
    unflushedBytes = 0
    // A disk that cannot keep up is noticed by the writes and by `sync`.
    flushing ??= file
      .datasync()
      .catch(() => undefined)
      .finally(() => {
        flushing = undefined
      })
  }

  return {
    async present(signal) {
      const found = new Set<number>()
      if (size === 0) return found
      for (const index of manifest.sizes.keys()) {
        signal.throwIfAborted()
        const { offset, sizeBytes } = chunkAt(layout, index) ?? { offset: 0, sizeBytes: 0 }
        const bytes = Buffer.allocUnsafe(sizeBytes)
        const { bytesRead } = await file.read(bytes, 0, sizeBytes, offset)
        if (bytesRead === sizeBytes && isChunk(manifest, index, bytes)) found.add(index)
      }
      return found
    },

    async write(index, bytes) {
      const at = chunkAt(layout, index)
      if (at === undefined) throw new RangeError(`chunk ${index} is not in the artifact`)
      await writeAll(file, bytes, at.offset).catch(orDiskFull(path))
      unflushedBytes += bytes.byteLength
      if (unflushedBytes >= FLUSH_EVERY_BYTES) flush()
    },

    async sync() {
      await file.sync().catch(orDiskFull(path))
    },

    async close() {
      await flushing
      await file.close()
    },
  }
}

async function writeAll(file: FileHandle, bytes: Uint8Array, offset: number): Promise<void> {
  for (let done = 0; done < bytes.byteLength; )
    done += (await file.write(bytes, done, bytes.byteLength - done, offset + done)).bytesWritten
}

function orDiskFull(path: string): (error: unknown) => never {
  return (error) => {
    throw asDiskFull(error, path)
  }
}
