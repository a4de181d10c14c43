import { open } from 'node:fs/promises'
import { type ArtifactStore, type ChunkLayout, chunkAt, fixedLayout, manifestLayout } from '@edgefit/shared/artifact'
import { allocateChunkFrame, CHUNK_HEADER_BYTES } from '@edgefit/shared/protocol'

/** An artifact that is being served. */
export interface ChunkSource {
  readonly layout: ChunkLayout
  /** Consecutive chunks as they go over the wire. Rejects when the file cannot be read. */
  readFrames(first: number, count: number): Promise<readonly Uint8Array[]>
}

export interface ChunkSources {
  /** `undefined` when the store does not have the artifact. */
  get(artifact: string): Promise<ChunkSource | undefined>
  close(): Promise<void>
}

/** Files kept open at most, and for how long after they were last used: removed files free their space then. */
const MAX_OPEN = 64
const IDLE_MS = 30_000

/**
 * Artifacts of the store, opened when asked for and kept open for a while. What has a manifest is cut as that says,
 * anything else in fixed chunks.
 */
export function createChunkSources(store: ArtifactStore, now: () => number): ChunkSources {
  /** Last in the map is used last. */
  const opened = new Map<string, { readonly source: Promise<OpenedSource | undefined>; usedAtMs: number }>()
  let sweep: NodeJS.Timeout | undefined

  async function drop(artifact: string): Promise<void> {
    const entry = opened.get(artifact)
    opened.delete(artifact)
    const source = await entry?.source.catch(() => undefined)
    await source?.close()
  }

  function dropIdle(): void {
    sweep = undefined
    for (const [artifact, { usedAtMs }] of opened) if (now() - usedAtMs >= IDLE_MS) void drop(artifact)
    if (opened.size > 0) sweep = setTimeout(dropIdle, IDLE_MS).unref()
  }

  return {
    async get(artifact) {
      const entry = opened.get(artifact) ?? { source: openSource(store, artifact), usedAtMs: 0 }
      entry.usedAtMs = now()
      opened.delete(artifact)
      opened.set(artifact, entry)
      const [oldest] = opened.keys()
      if (opened.size > MAX_OPEN && oldest !== undefined) void drop(oldest)
      sweep ??= setTimeout(dropIdle, IDLE_MS).unref()
      const source = await entry.source.catch(() => undefined)
      if (source === undefined && opened.get(artifact) === entry) opened.delete(artifact)
      return source
    },
    async close() {
      clearTimeout(sweep)
      await Promise.all([...opened.keys()].map(drop))
    },
  }
}

interface OpenedSource extends ChunkSource {
  close(): Promise<void>
}

async function openSource(store: ArtifactStore, artifact: string): Promise<OpenedSource | undefined> {
  const sizeBytes = await store.sizeBytes(artifact)
  if (sizeBytes === undefined) return undefined
  const manifest = await store.manifestOf(artifact)
  const layout = manifest === undefined ? fixedLayout(sizeBytes) : manifestLayout(manifest)
  const file = await open(store.path(artifact), 'r')
  return {
    layout,
    async readFrames(first, count) {
      const frames = Array.from({ length: count }, (_, i) => {
        const chunk = chunkAt(layout, first + i)
        if (chunk === undefined) throw new RangeError(`chunk ${first + i} is not in artifact ${artifact}`)
        return allocateChunkFrame(first + i, chunk.sizeBytes)
      })
      const bodies = frames.map((frame) => frame.subarray(CHUNK_HEADER_BYTES))
      const { bytesRead } = await file.readv(bodies, chunkAt(layout, first)?.offset ?? 0)
      if (bytesRead < bodies.reduce((sum, body) => sum + body.byteLength, 0))
        throw new RangeError(`artifact ${artifact} ends within its chunks ${first} to ${first + count - 1}`)
      return frames
    },
    close: () => file.close(),
  }
}
