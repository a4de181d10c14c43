import { open } from 'node:fs/promises'
import { type ArtifactStore, chunkAt, isChunk, type Manifest, manifestLayout } from '@edgefit/shared/artifact'

/**
 * Copies chunks of `manifest` that other artifacts in the store hold, for example an earlier version of the model.
 *
 * `missing` are the chunks wanted; each that is found, and whose bytes still have its digest, is given to `write` and
 * removed from `missing`. Artifacts that cannot be read give nothing: their chunks are fetched instead.
 */
export async function reuseLocalChunks(
  store: ArtifactStore,
  manifest: Manifest,
  missing: Set<number>,
  write: (index: number, bytes: Uint8Array) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  const wanted = new Map<string, number[]>()
  for (const index of missing) {
    const digest = manifest.digests[index] ?? ''
    wanted.set(digest, [...(wanted.get(digest) ?? []), index])
  }
  for (const { digest } of await store.list()) {
    if (missing.size === 0) return
    signal.throwIfAborted()
    const other = await store.manifestOf(digest).catch(() => undefined)
    if (other === undefined) continue
    for await (const [chunkDigest, bytes] of sharedChunks(store.path(digest), other, wanted))
      for (const index of wanted.get(chunkDigest) ?? []) {
        if (!missing.has(index) || !isChunk(manifest, index, bytes)) continue
        signal.throwIfAborted()
        await write(index, bytes)
        missing.delete(index)
      }
  }
}

async function* sharedChunks(
  path: string,
  manifest: Manifest,
  wanted: ReadonlyMap<string, readonly number[]>,
): AsyncIterable<readonly [digest: string, bytes: Uint8Array]> {
  const layout = manifestLayout(manifest)
  const shared = [...manifest.digests.entries()].filter(([, digest]) => wanted.has(digest))
  if (shared.length === 0) return
  const file = await open(path, 'r').catch(() => undefined)
  if (file === undefined) return
  try {
    for (const [index, digest] of shared) {
      const { offset, sizeBytes } = chunkAt(layout, index) ?? { offset: 0, sizeBytes: 0 }
      const bytes = Buffer.allocUnsafe(sizeBytes)
      const read = await file.read(bytes, 0, sizeBytes, offset).catch(() => undefined)
      if (read?.bytesRead === sizeBytes) yield [digest, bytes]
    }
  } finally {
    await file.close()
  }
}
