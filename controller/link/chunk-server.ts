import { EdgefitError } from '@edgefit/shared'
import { type ArtifactStore, chunkAt, spanAt } from '@edgefit/shared/artifact'
import { decodeBitmap, type FetchRequest, formatTopic } from '@edgefit/shared/protocol'
import { ChunkQueue, type ChunkRequest, type QueuedRun, type QueueLimits } from './chunk-server-queue.ts'
import { type ChunkSource, createChunkSources } from './chunk-server-source.ts'

/** Where chunks go. */
export interface ChunkPublisher {
  /** QoS 0. Resolves when more can be taken, rejects when the broker cannot be reached. */
  publish(topic: string, payload: Uint8Array): Promise<void>
}

export interface ChunkServerLimits extends QueueLimits {
  /** How long chunks that several devices fetch are held back, so that one publish serves them all. */
  readonly coalesceMs: number
  /** A publish that takes longer counts as failed. */
  readonly publishTimeoutMs: number
}

const DEFAULT_LIMITS: ChunkServerLimits = {
  runBytes: 256 * 1024,
  inFlightBytes: 2 * 2 ** 20,
  deviceInFlightBytes: 512 * 1024,
  deviceQueuedBytes: 16 * 2 ** 20,
  queuedChunks: 2 ** 16,
  coalesceMs: 20,
  publishTimeoutMs: 5_000,
}

export type ChunkServerEvent =
  | {
      readonly kind: 'unknown-artifact' | 'invalid-request' | 'no-room'
      readonly device: string
      readonly artifact: string
    }
  | { readonly kind: 'failed'; readonly device: string; readonly artifact: string; readonly error: unknown }

interface ChunkServerStats {
  readonly requests: number
  readonly requestedChunks: number
  /** Less than requested where one publish served several devices. */
  readonly publishedChunks: number
  readonly publishedBytes: number
  readonly queuedChunks: number
}

export interface ChunkServerOptions {
  readonly fleet: string
  readonly store: ArtifactStore
  readonly publisher: ChunkPublisher
  readonly now: () => number
  readonly limits?: Partial<ChunkServerLimits>
  /** What was not served, and why. May come often: count it, or log it sparingly. */
  readonly onEvent?: (event: ChunkServerEvent) => void
}

export interface ChunkServer {
  /** Takes a request. What cannot be served is an event, never an error: a device that misses chunks asks again. */
  handle(device: string, request: FetchRequest): void
  stats(): ChunkServerStats
  close(): Promise<void>
}

/** A device that has fetched from an artifact this recently is taken to be still at it. */
const AUDIENCE_MS = 2_000
/** Requests whose artifact is being looked up. */
const MAX_LOOKUPS = 1_024

/**
 * Publishes the chunks devices ask for. Any artifact of the store is served. Memory holds the chunks in flight and a
 * few words for each that waits, whatever devices ask for.
 */
export function createChunkServer(options: ChunkServerOptions): ChunkServer {
  const { fleet, store, publisher, now } = options
  const limits = { ...DEFAULT_LIMITS, ...options.limits }
  const queue = new ChunkQueue(limits)
  const sources = createChunkSources(store, now)
  const audiences = new WeakMap<ChunkSource, { device: string; sharedUntilMs: number }>()
  const counts = { requests: 0, requestedChunks: 0, publishedChunks: 0, publishedBytes: 0 }
  const report = options.onEvent ?? (() => undefined)
  let lookups = 0
  let closed = false
  let wake: NodeJS.Timeout | undefined

  async function accept(device: string, { artifact, span, bitmap, private: isPrivate }: FetchRequest): Promise<void> {
    const source = await sources.get(artifact)
    if (source === undefined) return report({ kind: 'unknown-artifact', device, artifact })
    const range = spanAt(source.layout, span)
    const members = range === undefined ? undefined : decodeBitmap(bitmap, range.count)
    if (range === undefined || members === undefined) return report({ kind: 'invalid-request', device, artifact })
    const chunks = members.map((member) => {
      const index = range.first + member
      return { index, sizeBytes: chunkAt(source.layout, index)?.sizeBytes ?? 0 }
    })
    counts.requestedChunks += chunks.length
    const request: ChunkRequest = { artifact, span, own: isPrivate ? device : undefined, chunks }
    const holdMs = isPrivate || !hasAudience(source, device) ? 0 : limits.coalesceMs
    if (queue.add(device, request, now() + holdMs) === undefined) report({ kind: 'no-room', device, artifact })
    pump()
  }

  /** Whether other devices fetch from it as well: one that is alone need not wait for them. */
  function hasAudience(source: ChunkSource, device: string): boolean {
    const last = audiences.get(source)
    const isOther = last !== undefined && last.device !== device
    const sharedUntilMs = isOther ? now() + AUDIENCE_MS : (last?.sharedUntilMs ?? 0)
    audiences.set(source, { device, sharedUntilMs })
    return now() < sharedUntilMs
  }

  function pump(): void {
    if (closed) return
    for (let run = queue.next(now()); run !== undefined; run = queue.next(now())) void send(run)
    // All are held back equally long, so a later one is not due before the timer that stands.
    const readyAtMs = wake === undefined ? queue.nextReadyAtMs(now()) : undefined
    if (readyAtMs !== undefined) wake = setTimeout(onWake, Math.max(1, readyAtMs - now()))
  }

  function onWake(): void {
    wake = undefined
    pump()
  }

  async function send(run: QueuedRun): Promise<void> {
    const { device, artifact, span, own } = run
    try {
      const source = await sources.get(artifact)
      if (source === undefined) throw new EdgefitError(`artifact ${artifact} has left the store`, { code: 'NOT_FOUND' })
      const frames = await source.readFrames(run.first, run.count)
      const topic = formatTopic({
        kind: 'chunks',
        fleet,
        artifact,
        span,
        ...(own === undefined ? {} : { device: own }),
      })
      const publishing = Promise.all(frames.map((frame) => publisher.publish(topic, frame)))
      await inTime(publishing, limits.publishTimeoutMs)
      counts.publishedChunks += run.count
      counts.publishedBytes += run.sizeBytes
    } catch (error) {
      // What else waits for the device would fail as well; it asks again for what it still needs.
      queue.abandon(device)
      report({ kind: 'failed', device, artifact, error })
    }
    queue.done(run)
    pump()
  }

  return {
    handle(device, request) {
      counts.requests++
      if (closed) return
      if (lookups >= MAX_LOOKUPS) return report({ kind: 'no-room', device, artifact: request.artifact })
      lookups++
      accept(device, request)
        .catch((error: unknown) => report({ kind: 'failed', device, artifact: request.artifact, error }))
        .finally(() => lookups--)
    },
    stats: () => ({ ...counts, queuedChunks: queue.queuedChunks }),
    async close() {
      closed = true
      clearTimeout(wake)
      await sources.close()
    },
  }
}

async function inTime(action: Promise<unknown>, timeoutMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new EdgefitError(`publishing chunks took longer than ${timeoutMs} ms`, { code: 'TIMEOUT' }))
    }, timeoutMs)
  })
  try {
    await Promise.race([action, timeout])
  } finally {
    clearTimeout(timer)
  }
}
