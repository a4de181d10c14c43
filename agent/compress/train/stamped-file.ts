import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { DefaultSerializer, deserialize } from 'node:v8'
import { EdgefitError, isEdgefitError } from '@edgefit/shared'
import { writeFileAtomic } from '@edgefit/shared/artifact'

/** One value in a file of this box, replaced at once: after a power cut it is the last one or the one before. */
export interface StampedFile<Value> {
  /**
   * `undefined` where there is none, or it is damaged, or was written under another key.
   *
   * @throws EdgefitError UNAVAILABLE when there is one that cannot be read.
   */
  read(): Promise<Value | undefined>
  /** @throws EdgefitError DISK_FULL. */
  write(value: Value): Promise<void>
}

const DIGEST_BYTES = 32

/** @param key all that the value depends on: what was written under another key is not read */
export function stampedFile<Value>(path: string, key: string): StampedFile<Value> {
  return {
    async read() {
      const bytes = await bytesOf(path)
      if (bytes === undefined || bytes.length < DIGEST_BYTES) return undefined
      const body = bytes.subarray(DIGEST_BYTES)
      if (!digestOf(body).equals(bytes.subarray(0, DIGEST_BYTES))) return undefined
      const stored = deserialized(body) as { readonly key: string; readonly value: Value } | undefined
      return stored?.key === key ? stored.value : undefined
    },
    async write(value) {
      // What is written is large: the digest gets its place in front before, so that nothing is copied for it.
      const serializer = new DefaultSerializer()
      serializer.writeRawBytes(Buffer.alloc(DIGEST_BYTES))
      serializer.writeHeader()
      serializer.writeValue({ key, value })
      const bytes = serializer.releaseBuffer()
      digestOf(bytes.subarray(DIGEST_BYTES)).copy(bytes)
      await writeFileAtomic(path, bytes)
    },
  }
}

/** Writes what one can do without. @returns why it could not, where the disk is full */
export async function writtenWhereItFits<Value>(
  file: StampedFile<Value> | undefined,
  value: Value,
): Promise<string | undefined> {
  try {
    await file?.write(value)
    return undefined
  } catch (error) {
    if (isEdgefitError(error, 'DISK_FULL')) return error.message
    throw error
  }
}

async function bytesOf(path: string): Promise<Buffer | undefined> {
  try {
    return await readFile(path)
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new EdgefitError(`cannot read ${path}, which holds the state of training; mend it or delete it`, {
      code: 'UNAVAILABLE',
      details: { path },
      cause,
    })
  }
}

/** Another version of the format may have written it. */
function deserialized(body: Uint8Array): unknown {
  try {
    return deserialize(body)
  } catch {
    return undefined
  }
}

function digestOf(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest()
}
