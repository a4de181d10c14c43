import { createHash } from 'node:crypto'
import * as z from 'zod'
import { EdgefitError } from '../errors.ts'
import { Digest } from '../model/primitives.ts'
import { parseJsonWith } from '../parse.ts'
import { MAX_CHUNK_BYTES } from '../protocol/chunk-frame.ts'
import { digestBytes } from './digest.ts'
import { type ChunkLayout, layoutOf, MAX_SPAN_BYTES, MAX_SPAN_CHUNKS, spanCounts } from './layout.ts'

const MAX_CHUNKS = 131_072
/** A manifest is held in memory whole. */
export const MAX_MANIFEST_BYTES = 16 * 2 ** 20

/**
 * Lists the chunks of an artifact in their order. JSON, because it is about 0.1 % of the artifact and can be read and
 * checked with common tools; it is a file like any other, so a signature over its digest covers every chunk.
 */
export const Manifest = z
  .strictObject({
    v: z.literal(1),
    /** Of the whole artifact. */
    digest: Digest,
    sizeBytes: z.int().nonnegative(),
    /** Chunks in each span. */
    spans: z.array(z.int().min(1).max(MAX_SPAN_CHUNKS)).max(MAX_CHUNKS),
    /** Bytes of each chunk. */
    sizes: z.array(z.int().min(1).max(MAX_CHUNK_BYTES)).max(MAX_CHUNKS),
    /** SHA-256 of each chunk. */
    digests: z.array(Digest).max(MAX_CHUNKS),
  })
  .superRefine((manifest, context) => {
    const fault = (path: string, message: string) => context.addIssue({ code: 'custom', path: [path], message })
    const sizes = sum(manifest.sizes)
    if (sizes !== manifest.sizeBytes) fault('sizes', `sum to ${sizes}, not to sizeBytes ${manifest.sizeBytes}`)
    if (manifest.digests.length !== manifest.sizes.length)
      fault('digests', `lists ${manifest.digests.length} chunks where sizes lists ${manifest.sizes.length}`)
    if (sum(manifest.spans) !== manifest.sizes.length)
      fault('spans', `hold ${sum(manifest.spans)} chunks of ${manifest.sizes.length}`)
    let first = 0
    for (const [i, count] of manifest.spans.entries()) {
      const bytes = sum(manifest.sizes.slice(first, first + count))
      if (bytes > MAX_SPAN_BYTES) fault('spans', `span ${i} has ${bytes} bytes, more than ${MAX_SPAN_BYTES}`)
      first += count
    }
  })
export type Manifest = z.infer<typeof Manifest>

/**
 * Cuts `content` at `borders` (see `chunkBorders`).
 *
 * @throws EdgefitError INPUT_INVALID for an artifact that needs more than 131072 chunks.
 */
export async function buildManifest(
  content: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  sizeBytes: number,
  borders: readonly number[],
): Promise<Manifest> {
  const ends = sizeBytes === 0 ? [] : [...borders, sizeBytes]
  if (ends.length > MAX_CHUNKS)
    throw new EdgefitError(`artifact of ${sizeBytes} bytes makes ${ends.length} chunks, more than ${MAX_CHUNKS}`, {
      code: 'INPUT_INVALID',
    })
  const whole = createHash('sha256')
  const digests: Digest[] = []
  let chunk = createHash('sha256')
  let at = 0
  for await (const piece of content) {
    whole.update(piece)
    for (let used = 0; used < piece.byteLength; ) {
      const end = ends[digests.length]
      if (end === undefined) throw new RangeError(`content is longer than its ${sizeBytes} bytes`)
      const part = piece.subarray(used, used + end - at)
      chunk.update(part)
      used += part.byteLength
      at += part.byteLength
      if (at < end) continue
      digests.push(chunk.digest('hex'))
      chunk = createHash('sha256')
    }
  }
  if (at !== sizeBytes) throw new RangeError(`content ends at ${at} of ${sizeBytes} bytes`)
  const sizes = ends.map((end, i) => end - (ends[i - 1] ?? 0))
  return { v: 1, digest: whole.digest('hex'), sizeBytes, spans: spanCounts(sizes), sizes, digests }
}

/** The same manifest always gives the same bytes. */
export function encodeManifest(manifest: Manifest): Buffer {
  const { v, digest, sizeBytes, spans, sizes, digests } = manifest
  return Buffer.from(JSON.stringify({ v, digest, sizeBytes, spans, sizes, digests }))
}

/** @throws EdgefitError PROTOCOL_INVALID, naming every fault. */
export function parseManifest(bytes: Uint8Array): Manifest {
  if (bytes.byteLength > MAX_MANIFEST_BYTES)
    throw new EdgefitError(`manifest: ${bytes.byteLength} bytes, more than ${MAX_MANIFEST_BYTES}`, {
      code: 'PROTOCOL_INVALID',
    })
  return parseJsonWith(Manifest, Buffer.from(bytes).toString('utf8'), 'manifest', 'PROTOCOL_INVALID')
}

export function manifestLayout(manifest: Manifest): ChunkLayout {
  return layoutOf(manifest.sizes, manifest.spans)
}

/** Whether `bytes` are chunk `index` of the artifact: size first, it is cheaper. */
export function isChunk(manifest: Manifest, index: number, bytes: Uint8Array): boolean {
  return bytes.byteLength === manifest.sizes[index] && digestBytes(bytes) === manifest.digests[index]
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}
