import { createHash, hash } from 'node:crypto'
import { open } from 'node:fs/promises'
import type { Digest } from '../model/index.ts'

const PIECE_BYTES = 2 ** 20

/** SHA-256, lower-case hex. */
export function digestBytes(bytes: Uint8Array): Digest {
  return hash('sha256', bytes, 'hex')
}

/** SHA-256 of a file, read in pieces. Errors of the file system pass through as they are. */
export async function digestFile(path: string, signal?: AbortSignal): Promise<Digest> {
  const whole = createHash('sha256')
  for await (const piece of readPieces(path, signal)) whole.update(piece)
  return whole.digest('hex')
}

/**
 * The bytes of a file in their order, all in one buffer: a piece is valid until the next is asked for. (A read stream
 * makes a new buffer for each, and garbage faster than it is collected.)
 */
export async function* readPieces(path: string, signal?: AbortSignal): AsyncIterable<Uint8Array> {
  const file = await open(path, 'r')
  try {
    const buffer = Buffer.allocUnsafe(PIECE_BYTES)
    for (;;) {
      signal?.throwIfAborted()
      const { bytesRead } = await file.read(buffer, 0, PIECE_BYTES)
      if (bytesRead === 0) return
      yield buffer.subarray(0, bytesRead)
    }
  } finally {
    await file.close()
  }
}
