import { createHash, hash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import type { Digest } from '../model/index.ts'

/** Reads of a megabyte: fewer turns of the event loop than the default 64 KiB, and little memory all the same. */
const READ_BYTES = 2 ** 20

/** SHA-256, lower-case hex. */
export function digestBytes(bytes: Uint8Array): Digest {
  return hash('sha256', bytes, 'hex')
}

/** SHA-256 of a file, read in pieces. Errors of the file system pass through as they are. */
export async function digestFile(path: string, signal?: AbortSignal): Promise<Digest> {
  const whole = createHash('sha256')
  const options = { highWaterMark: READ_BYTES, ...(signal === undefined ? {} : { signal }) }
  for await (const piece of createReadStream(path, options)) whole.update(piece as Buffer)
  return whole.digest('hex')
}
