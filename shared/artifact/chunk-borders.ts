import { MAX_CHUNK_BYTES } from '../protocol/chunk-frame.ts'

/** A region at least this long has chunks of its own; shorter neighbours share chunks. */
const OWN_CHUNKS_FROM_BYTES = 16 * 1024

/**
 * Where to cut a file into chunks: inner offsets, ascending, without 0 and the length.
 *
 * `tensorBorders` are the offsets where tensor data begins and ends. Long tensors are cut into equal parts of their
 * own, so how they are cut depends on their length alone, and a chunk of an unchanged tensor has the same digest in
 * the next version of the model wherever the tensor has moved to. Short regions between them are packed together;
 * a change of length there shifts the chunks up to the next long tensor and no further.
 */
export function chunkBorders(sizeBytes: number, tensorBorders: readonly number[]): number[] {
  const cuts = [...new Set(tensorBorders)].filter((at) => at > 0 && at < sizeBytes).sort((a, b) => a - b)
  const borders: number[] = []
  let packedFrom = 0
  let start = 0
  for (const end of [...cuts, sizeBytes]) {
    const isLong = end - start >= OWN_CHUNKS_FROM_BYTES
    if ((isLong || end - packedFrom > MAX_CHUNK_BYTES) && start > packedFrom) {
      borders.push(start)
      packedFrom = start
    }
    if (isLong) {
      borders.push(...equalParts(start, end), end)
      packedFrom = end
    }
    start = end
  }
  return borders.filter((at) => at < sizeBytes)
}

/** Inner borders of the fewest parts of at most {@link MAX_CHUNK_BYTES}. */
function equalParts(start: number, end: number): number[] {
  const parts = Math.ceil((end - start) / MAX_CHUNK_BYTES)
  const partBytes = Math.ceil((end - start) / parts)
  return Array.from({ length: parts - 1 }, (_, i) => start + (i + 1) * partBytes)
}
