import { MAX_CHUNK_BYTES } from '../protocol/chunk-frame.ts'

/** A span is asked for as a whole or in parts, and is the unit of subscription. */
export const MAX_SPAN_CHUNKS = 64
export const MAX_SPAN_BYTES = 2 ** 20

/**
 * Where the chunks of an artifact lie. Chunk i has the bytes `[offsets[i], offsets[i + 1])`, span s has the chunks
 * `[spanStarts[s], spanStarts[s + 1])`; both arrays hold one more entry than there are chunks and spans.
 */
export interface ChunkLayout {
  readonly sizeBytes: number
  readonly offsets: Float64Array
  readonly spanStarts: Uint32Array
}

/** Fixed chunks of 64 KiB: for whatever has no manifest, above all for manifests themselves. */
export function fixedLayout(sizeBytes: number): ChunkLayout {
  const sizes = Array.from({ length: Math.ceil(sizeBytes / MAX_CHUNK_BYTES) }, (_, i) =>
    Math.min(MAX_CHUNK_BYTES, sizeBytes - i * MAX_CHUNK_BYTES),
  )
  return layoutOf(sizes, spanCounts(sizes))
}

export function layoutOf(chunkSizes: readonly number[], chunksPerSpan: readonly number[]): ChunkLayout {
  const offsets = new Float64Array(chunkSizes.length + 1)
  for (const [i, size] of chunkSizes.entries()) offsets[i + 1] = (offsets[i] ?? 0) + size
  const spanStarts = new Uint32Array(chunksPerSpan.length + 1)
  for (const [i, count] of chunksPerSpan.entries()) spanStarts[i + 1] = (spanStarts[i] ?? 0) + count
  return { sizeBytes: offsets[chunkSizes.length] ?? 0, offsets, spanStarts }
}

/** Groups consecutive chunks into spans, each as large as the limits allow. */
export function spanCounts(chunkSizes: readonly number[]): number[] {
  const counts: number[] = []
  let count = 0
  let bytes = 0
  for (const size of chunkSizes) {
    if (count === MAX_SPAN_CHUNKS || (count > 0 && bytes + size > MAX_SPAN_BYTES)) {
      counts.push(count)
      count = 0
      bytes = 0
    }
    count++
    bytes += size
  }
  if (count > 0) counts.push(count)
  return counts
}

export function chunkCount(layout: ChunkLayout): number {
  return layout.offsets.length - 1
}

export function spanCount(layout: ChunkLayout): number {
  return layout.spanStarts.length - 1
}

/** `undefined` for an index outside the artifact. */
export function chunkAt(
  layout: ChunkLayout,
  index: number,
): { readonly offset: number; readonly sizeBytes: number } | undefined {
  const offset = layout.offsets[index]
  const end = layout.offsets[index + 1]
  return offset === undefined || end === undefined ? undefined : { offset, sizeBytes: end - offset }
}

/** `undefined` for a span outside the artifact. */
export function spanAt(
  layout: ChunkLayout,
  span: number,
): { readonly first: number; readonly count: number } | undefined {
  const first = layout.spanStarts[span]
  const end = layout.spanStarts[span + 1]
  return first === undefined || end === undefined ? undefined : { first, count: end - first }
}
