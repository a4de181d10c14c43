import { mkdtemp, readFile, rm, truncate } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  type ArtifactStore,
  manifestLayout,
  openArtifactStore,
  publishArtifact,
  spanAt,
} from '@edgefit/shared/artifact'
import {
  decodeChunkFrame,
  encodeBitmap,
  type FetchRequest,
  PROTOCOL_VERSION,
  parseTopic,
} from '@edgefit/shared/protocol'
import * as fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import {
  type ChunkPublisher,
  type ChunkServer,
  type ChunkServerEvent,
  type ChunkServerLimits,
  createChunkServer,
} from '../../../controller/link/chunk-server.ts'
import { noise } from '../../support/transfer-scene.ts'

let root: string
let store: ArtifactStore
let server: ChunkServer | undefined
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'edgefit-chunks-'))
  store = await openArtifactStore(root)
})
afterEach(async () => {
  await server?.close()
  await rm(root, { recursive: true, force: true })
})

interface Published {
  readonly topic: string
  readonly payload: Uint8Array
}

function serve(publish?: ChunkPublisher['publish'], limits: Partial<ChunkServerLimits> = {}) {
  const published: Published[] = []
  const events: ChunkServerEvent[] = []
  const started = createChunkServer({
    fleet: 'test',
    store,
    publisher: {
      publish: async (topic, payload) => {
        published.push({ topic, payload })
        await publish?.(topic, payload)
      },
    },
    now: () => performance.now(),
    limits,
    onEvent: (event) => events.push(event),
  })
  server = started
  return { handle: started.handle, stats: started.stats, published, events }
}

function fetchOf(
  artifact: string,
  span: number,
  members: readonly number[],
  count: number,
  isPrivate = false,
): FetchRequest {
  return { v: PROTOCOL_VERSION, artifact, span, bitmap: encodeBitmap(members, count), private: isPrivate }
}

describe('the chunk server', () => {
  it('publishes exactly what was asked for, on the topic of the span', async () => {
    const content = noise(1_500_000, 1)
    const ref = await publishArtifact(store, content)
    const manifest = await store.manifestOf(ref.digest)
    const { first, count } = spanAt(manifestLayout(manifest as never), 1) ?? { first: 0, count: 0 }
    const { handle, published } = serve()

    handle('d1', fetchOf(ref.digest, 1, [0, 2], count))

    await vi.waitFor(() => expect(published).toHaveLength(2))
    // Runs of chunks are read side by side: which comes first is the disk's affair.
    const frames = published
      .map(({ payload }) => decodeChunkFrame(payload))
      .toSorted((a, b) => (a?.index ?? 0) - (b?.index ?? 0))
    expect(frames.map((frame) => frame?.index)).toEqual([first, first + 2])
    const size = manifest?.sizes[0] ?? 0
    expect(Buffer.from(frames[1]?.bytes ?? []).equals(content.subarray((first + 2) * size, (first + 3) * size))).toBe(
      true,
    )
    expect(parseTopic(published[0]?.topic ?? '')).toEqual({
      kind: 'chunks',
      fleet: 'test',
      artifact: ref.digest,
      span: 1,
    })
  })

  it('serves manifests like any file, in fixed chunks', async () => {
    const ref = await publishArtifact(store, noise(100_000, 2))
    const { handle, published } = serve()

    handle('d1', fetchOf(ref.manifest.digest, 0, [0], 1))

    await vi.waitFor(() => expect(published).toHaveLength(1))
    const bytes = decodeChunkFrame(published[0]?.payload ?? new Uint8Array())?.bytes ?? []
    expect(Buffer.from(bytes).equals(await readFile(store.path(ref.manifest.digest)))).toBe(true)
  })

  it('publishes once for several devices, and for each that wants its own', async () => {
    const ref = await publishArtifact(store, noise(500_000, 3))
    const { handle, published, stats } = serve()
    const all = [0, 1, 2, 3, 4, 5, 6, 7]

    handle('first', fetchOf(ref.digest, 0, [0], 8))
    for (const device of ['d1', 'd2', 'd3']) handle(device, fetchOf(ref.digest, 0, all, 8))
    handle('slow', fetchOf(ref.digest, 0, all, 8, true))

    await vi.waitFor(() => expect(stats()).toMatchObject({ requests: 5, requestedChunks: 33, queuedChunks: 0 }))
    await vi.waitFor(() => expect(published.filter(({ topic }) => topic.endsWith('/0/slow'))).toHaveLength(8))
    const shared = published.filter(({ topic }) => topic.endsWith('/0'))
    expect(shared.length).toBeGreaterThanOrEqual(8)
    expect(shared.length).toBeLessThanOrEqual(9)
  })

  it('answers every other device while one cannot be published to', async () => {
    const ref = await publishArtifact(store, noise(1_000_000, 4))
    const release: (() => void)[] = []
    const stuck: ChunkPublisher['publish'] = (topic) =>
      topic.endsWith('/stuck') ? new Promise((resolve) => release.push(resolve)) : Promise.resolve()
    const { handle, published, stats } = serve(stuck, { runBytes: 65_536, deviceInFlightBytes: 128 * 1024 })
    const all = [...Array(16).keys()]

    handle('stuck', fetchOf(ref.digest, 0, all, 16, true))
    handle('other', fetchOf(ref.digest, 0, all, 16, true))

    await vi.waitFor(() => expect(published.filter(({ topic }) => topic.endsWith('/other'))).toHaveLength(16))
    expect(published.filter(({ topic }) => topic.endsWith('/stuck'))).toHaveLength(2)
    expect(stats().queuedChunks).toBe(14)
    for (const done of release) done()
  })

  it('gives up on what takes too long, and serves the device again when it asks again', async () => {
    const ref = await publishArtifact(store, noise(1_000_000, 5))
    let isStuck = true
    const { handle, published, events, stats } = serve(
      () => (isStuck ? new Promise(() => undefined) : Promise.resolve()),
      {
        deviceInFlightBytes: 128 * 1024,
        publishTimeoutMs: 30,
      },
    )

    handle('d1', fetchOf(ref.digest, 0, [...Array(16).keys()], 16))
    await vi.waitFor(() => expect(events).toContainEqual(expect.objectContaining({ kind: 'failed', device: 'd1' })))
    await vi.waitFor(() => expect(stats().queuedChunks).toBe(0))
    isStuck = false
    const before = published.length
    handle('d1', fetchOf(ref.digest, 0, [9], 16))

    await vi.waitFor(() => expect(published).toHaveLength(before + 1))
    expect(stats().publishedChunks).toBe(1)
  })

  it.each([
    ['an unknown artifact', () => fetchOf('f'.repeat(64), 0, [0], 1), 'unknown-artifact'],
    ['a span beyond the end', (digest: string) => fetchOf(digest, 9, [0], 1), 'invalid-request'],
    ['a bitmap of another length', (digest: string) => fetchOf(digest, 0, [0], 30), 'invalid-request'],
    ['a bitmap that is none', (digest: string) => ({ ...fetchOf(digest, 0, [0], 8), bitmap: '%' }), 'invalid-request'],
  ])('ignores %s and says so', async (_, requestOf, kind) => {
    const ref = await publishArtifact(store, noise(500_000, 6))
    const { handle, published, events } = serve()

    handle('d1', requestOf(ref.digest))

    await vi.waitFor(() => expect(events).toEqual([expect.objectContaining({ kind, device: 'd1' })]))
    expect(published).toEqual([])
  })

  it('has no room for a device that asks without end', async () => {
    const ref = await publishArtifact(store, noise(4_000_000, 7))
    const { handle, events, stats } = serve(() => new Promise(() => undefined), { deviceQueuedBytes: 2 ** 20 })

    for (let span = 0; span < 4; span++) handle('d1', fetchOf(ref.digest, span, [...Array(15).keys()], 16))

    await vi.waitFor(() => expect(events.length).toBeGreaterThan(0))
    expect(events[0]).toMatchObject({ kind: 'no-room', device: 'd1' })
    expect(stats().queuedChunks).toBeLessThanOrEqual(17)
  })

  it('reports a file that ends early, and an artifact that has left the store', async () => {
    const short = await publishArtifact(store, noise(500_000, 8))
    await truncate(store.path(short.digest), 100_000)
    const { handle, events } = serve()

    handle('d1', fetchOf(short.digest, 0, [7], 8))

    await vi.waitFor(() =>
      expect(events).toEqual([expect.objectContaining({ kind: 'failed', artifact: short.digest })]),
    )
  })

  it('survives any request, and serves a good one after', async () => {
    const ref = await publishArtifact(store, noise(300_000, 10))
    const { handle, published, stats } = serve()
    const requests = fc.record({
      v: fc.integer(),
      artifact: fc.constantFrom(ref.digest, ref.manifest.digest, 'f'.repeat(64), 'no digest', '../../etc/passwd'),
      span: fc.oneof(fc.nat(3), fc.double(), fc.integer()),
      bitmap: fc.oneof(fc.string(), fc.base64String({ maxLength: 16 })),
      private: fc.boolean(),
    })

    for (const request of fc.sample(requests, 300)) handle('d1', request)
    await vi.waitFor(() => expect(stats()).toMatchObject({ requests: 300, queuedChunks: 0 }))
    const before = published.length
    handle('d2', fetchOf(ref.digest, 0, [4], 5))

    await vi.waitFor(() => expect(published.length).toBeGreaterThan(before))
    expect(decodeChunkFrame(published.at(-1)?.payload ?? new Uint8Array())?.index).toBe(4)
  })

  it('publishes nothing after it is closed', async () => {
    const ref = await publishArtifact(store, noise(500_000, 9))
    const { handle, published, stats } = serve()
    await server?.close()

    handle('d1', fetchOf(ref.digest, 0, [0], 8))

    await vi.waitFor(() => expect(stats().requests).toBe(1))
    expect(published).toEqual([])
  })
})
