import { readFile } from 'node:fs/promises'
import { EdgefitError } from '@edgefit/shared'
import {
  type ArtifactStore,
  digestBytes,
  fixedLayout,
  MAX_MANIFEST_BYTES,
  type Manifest,
  parseManifest,
} from '@edgefit/shared/artifact'
import type { ArtifactRef } from '@edgefit/shared/model'
import type { ChunkChannel } from './download-channel.ts'
import { type PullLimits, pullChunks } from './download-pull.ts'

/** A manifest is verified as a whole only, so damage in one chunk means fetching all of it again. */
const MAX_TRIES = 3

export interface ManifestSource {
  readonly ref: ArtifactRef
  readonly store: ArtifactStore
  readonly channel: ChunkChannel
  readonly limits: PullLimits
  readonly now: () => number
  readonly random: () => number
}

/**
 * The manifest of the artifact, from the store or fetched and kept there for the next attempt. Its digest is part of
 * the signed reference, so through it the signature covers every chunk.
 *
 * @throws EdgefitError ARTIFACT_CORRUPT, PROTOCOL_INVALID, and what `pullChunks` throws.
 */
export async function obtainManifest(source: ManifestSource, signal: AbortSignal): Promise<Manifest> {
  const { ref, store } = source
  const manifest = parseManifest((await storedManifest(store, ref.manifest.digest)) ?? (await fetched(source, signal)))
  if (manifest.digest === ref.digest && manifest.sizeBytes === ref.sizeBytes) return manifest
  throw new EdgefitError(
    `manifest ${ref.manifest.digest} lists artifact ${manifest.digest} of ${manifest.sizeBytes} bytes, the goal names ${ref.digest} of ${ref.sizeBytes}; publish the artifact again`,
    { code: 'PROTOCOL_INVALID' },
  )
}

async function storedManifest(store: ArtifactStore, digest: string): Promise<Buffer | undefined> {
  if (!(await store.has(digest))) return undefined
  const bytes = await readFile(store.path(digest))
  if (digestBytes(bytes) === digest) return bytes
  await store.remove(digest)
  return undefined
}

async function fetched(source: ManifestSource, signal: AbortSignal): Promise<Buffer> {
  const { digest, sizeBytes } = source.ref.manifest
  if (sizeBytes > MAX_MANIFEST_BYTES)
    throw new EdgefitError(`manifest ${digest} has ${sizeBytes} bytes, more than ${MAX_MANIFEST_BYTES}`, {
      code: 'PROTOCOL_INVALID',
    })
  const layout = fixedLayout(sizeBytes)
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    const bytes = Buffer.alloc(sizeBytes)
    const plan = {
      ...source,
      artifact: digest,
      layout,
      wanted: () => true,
      verify: () => true,
      write: (index: number, chunk: Uint8Array) => {
        bytes.set(chunk, layout.offsets[index])
        return Promise.resolve()
      },
    }
    await pullChunks(plan, signal)
    if (digestBytes(bytes) !== digest) continue
    await source.store.put(bytes)
    return bytes
  }
  throw new EdgefitError(`manifest ${digest} came damaged ${MAX_TRIES} times; publish the artifact again`, {
    code: 'ARTIFACT_CORRUPT',
  })
}
