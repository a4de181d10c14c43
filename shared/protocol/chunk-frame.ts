/** Largest piece of an artifact in one message. With its header it stays far below the 128 KB every broker takes. */
export const MAX_CHUNK_BYTES = 64 * 1024

/** Most bytes of chunks a device may have asked for and not yet received, over all its downloads of one artifact. */
export const MAX_WINDOW_BYTES = 4 * 2 ** 20

/**
 * A broker with more than this waiting for one subscriber may drop chunks (QoS 0) for it: one that reads never has more
 * than a window to come and a span that others have asked for, and one that has lost a chunk asks again.
 */
export const CHUNK_BACKLOG_DROP_BYTES = MAX_WINDOW_BYTES + 2 ** 20

/**
 * A chunk on the wire:
 *
 * | bytes | meaning                                                  |
 * | ----- | -------------------------------------------------------- |
 * | 0     | frame version, 1                                         |
 * | 1..4  | index of the chunk in its artifact, uint32 little-endian |
 * | 5..   | the chunk: 1 to 65536 bytes                              |
 *
 * The topic names the artifact and the span.
 */
export const CHUNK_HEADER_BYTES = 5
const FRAME_VERSION = 1

export interface ChunkFrame {
  /** Index in the artifact, not in the span. */
  readonly index: number
  /** A view on the message, not a copy. */
  readonly bytes: Uint8Array
}

/** A frame with its header written and room for `sizeBytes` of chunk after it, so that a file is read straight into it. */
export function allocateChunkFrame(index: number, sizeBytes: number): Buffer {
  if (sizeBytes < 1 || sizeBytes > MAX_CHUNK_BYTES)
    throw new RangeError(`a chunk has 1 to ${MAX_CHUNK_BYTES} bytes, not ${sizeBytes}`)
  const frame = Buffer.allocUnsafe(CHUNK_HEADER_BYTES + sizeBytes)
  frame.writeUInt8(FRAME_VERSION, 0)
  frame.writeUInt32LE(index, 1)
  return frame
}

/** `undefined` for bytes that are no chunk of this version: a broker is shared ground. */
export function decodeChunkFrame(payload: Uint8Array): ChunkFrame | undefined {
  const sizeBytes = payload.byteLength - CHUNK_HEADER_BYTES
  if (sizeBytes < 1 || sizeBytes > MAX_CHUNK_BYTES || payload[0] !== FRAME_VERSION) return undefined
  const header = new DataView(payload.buffer, payload.byteOffset, CHUNK_HEADER_BYTES)
  return { index: header.getUint32(1, true), bytes: payload.subarray(CHUNK_HEADER_BYTES) }
}
