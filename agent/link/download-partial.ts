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
  const writer = createChunkWriter(path, file)

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

    write(index, bytes) {
      const at = chunkAt(layout, index)
      if (at === undefined) throw new RangeError(`chunk ${index} is not in the artifact`)
      return writer.write(at.offset, bytes)
    },

    async sync() {
      await file.sync().catch(orDiskFull(path))
    },

    async close() {
      await writer.end()
      await file.close()
    },
  }
}

interface PendingWrite {
  readonly offset: number
  readonly bytes: Uint8Array
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

/** One write at a time: what comes meanwhile is written together where it is adjacent. Also keeps the disk busy. */
function createChunkWriter(path: string, file: FileHandle) {
  let pending: PendingWrite[] = []
  let writing: Promise<void> | undefined
  let unflushedBytes = 0
  let flushing: Promise<void> | undefined

  async function drain(): Promise<void> {
    while (pending.length > 0) {
      const run = takeAdjacent(pending)
      pending = pending.slice(run.length)
      try {
        await writeAll(file, run)
        for (const { resolve } of run) resolve()
      } catch (error) {
        for (const { reject } of run) reject(asDiskFull(error, path))
      }
      unflushedBytes += run.reduce((sum, { bytes }) => sum + bytes.byteLength, 0)
      if (unflushedBytes >= FLUSH_EVERY_BYTES) flush()
    }
    writing = undefined
  }

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
    write(offset: number, bytes: Uint8Array): Promise<void> {
      return new Promise((resolve, reject) => {
        pending.push({ offset, bytes, resolve, reject })
        writing ??= drain()
      })
    },
    async end(): Promise<void> {
      await writing
      await flushing
    },
  }
}

function takeAdjacent(writes: readonly PendingWrite[]): PendingWrite[] {
  const run: PendingWrite[] = []
  let end = writes[0]?.offset
  for (const write of writes) {
    if (write.offset !== end) break
    run.push(write)
    end += write.bytes.byteLength
  }
  return run
}

async function writeAll(file: FileHandle, run: readonly PendingWrite[]): Promise<void> {
  let offset = run[0]?.offset ?? 0
  let parts = run.map(({ bytes }) => bytes)
  while (parts.length > 0) {
    let { bytesWritten } = await file.writev(parts, offset)
    offset += bytesWritten
    // A disk may take less than it was given.
    while (parts[0] !== undefined && bytesWritten >= parts[0].byteLength) {
      bytesWritten -= parts[0].byteLength
      parts = parts.slice(1)
    }
    if (parts[0] !== undefined) parts = [parts[0].subarray(bytesWritten), ...parts.slice(1)]
  }
}

function orDiskFull(path: string): (error: unknown) => never {
  return (error) => {
    throw asDiskFull(error, path)
  }
}
