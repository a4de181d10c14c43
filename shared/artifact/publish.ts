import { stat } from 'node:fs/promises'
import type { ArtifactRef } from '../model/primitives.ts'
import { chunkBorders } from './chunk-borders.ts'
import { readPieces } from './digest.ts'
import { buildManifest } from './manifest.ts'
import type { ArtifactStore } from './store.ts'

/**
 * Puts a file into the store with its manifest, ready to be served, and returns the reference that a signed goal
 * carries. `tensorBorders` (of an ONNX file; else none) let a later version share its unchanged chunks.
 *
 * Publishing the same file again gives the same reference.
 */
export async function publishArtifact(
  store: ArtifactStore,
  source: string | Uint8Array,
  tensorBorders: readonly number[] = [],
): Promise<ArtifactRef> {
  const digest = await store.put(source)
  const path = store.path(digest)
  const { size } = await stat(path)
  const borders = chunkBorders(size, tensorBorders)
  const manifest = await store.putManifest(await buildManifest(readPieces(path), size, borders))
  return { digest, sizeBytes: size, manifest }
}
