import { createHash } from 'node:crypto'
import { readFile, rm } from 'node:fs/promises'
import { deserialize, serialize } from 'node:v8'
import { writeFileAtomic } from '@edgefit/shared/artifact'

/** One value in a file of this box, replaced at once: after a power cut it is the last one or the one before. */
export interface StampedFile<Value> {
  /** `undefined` where there is none, or it is damaged, or was written under another key. */
  read(): Promise<Value | undefined>
  /** @throws EdgefitError DISK_FULL. */
  write(value: Value): Promise<void>
  remove(): Promise<void>
}

const DIGEST_BYTES = 32

/** @param key all that the value depends on: what was written under another key is not read */
export function stampedFile<Value>(path: string, key: string): StampedFile<Value> {
  return {
    async read() {
      const bytes = await readFile(path).catch(() => undefined)
      if (bytes === undefined || bytes.length < DIGEST_BYTES) return undefined
      const body = bytes.subarray(DIGEST_BYTES)
      if (!digestOf(body).equals(bytes.subarray(0, DIGEST_BYTES))) return undefined
      const stored = deserialize(body) as { readonly key: string; readonly value: Value }
      return stored.key === key ? stored.value : undefined
    },
    async write(value) {
      const body = serialize({ key, value })
      await writeFileAtomic(path, Buffer.concat([digestOf(body), body]))
    },
    remove: () => rm(path, { force: true }),
  }
}

function digestOf(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest()
}
