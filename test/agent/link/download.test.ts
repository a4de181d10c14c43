import { execFileSync } from 'node:child_process'
import { mkdir, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  type ArtifactStore,
  chunkAt,
  digestBytes,
  encodeManifest,
  type Manifest,
  manifestLayout,
  openArtifactStore,
  publishArtifact,
} from '@edgefit/shared/artifact'
import type { ArtifactRef } from '@edgefit/shared/model'
import { allocateChunkFrame, CHUNK_HEADER_BYTES, decodeChunkFrame } from '@edgefit/shared/protocol'
import * as fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type DownloadLimits, type DownloadProgress, downloadArtifact } from '../../../agent/link/download.ts'
import { noise } from '../../support/transfer-scene.ts'
import { createUnreliableChannel, type UnreliableChannel } from '../../support/unreliable-channel.ts'

/** Quick to lose patience, or the tests would take as long as a bad link does. */
const LIMITS: Partial<DownloadLimits> = {
  firstPatienceMs: 40,
  minPatienceMs: 20,
  maxPatienceMs: 80,
  maxFruitlessTries: 20,
  reserveBytes: 0,
}

const FEW_TRIES = { maxFruitlessTries: 4 }

let root: string
let source: ArtifactStore
let store: ArtifactStore
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'edgefit-download-'))
  source = await openArtifactStore(join(root, 'controller'))
  store = await openArtifactStore(join(root, 'device'))
})
afterEach(() => rm(root, { recursive: true, force: true }))

/** A channel that serves everything published in `source`. */
async function channelOf(...refs: readonly ArtifactRef[]): Promise<UnreliableChannel> {
  const artifacts = new Map<string, { bytes: Uint8Array; layout?: ReturnType<typeof manifestLayout> }>()
  for (const ref of refs) {
    const manifest = (await source.manifestOf(ref.digest)) as Manifest
    artifacts.set(ref.digest, { bytes: await readFile(source.path(ref.digest)), layout: manifestLayout(manifest) })
    artifacts.set(ref.manifest.digest, { bytes: encodeManifest(manifest) })
  }
  return createUnreliableChannel(artifacts)
}

function download(
  ref: ArtifactRef,
  channel: UnreliableChannel,
  extra: {
    limits?: Partial<DownloadLimits>
    store?: ArtifactStore
    signal?: AbortSignal
    onProgress?: (p: DownloadProgress) => void
  } = {},
) {
  const { limits = {}, signal = AbortSignal.timeout(15_000), onProgress = () => undefined } = extra
  const options = { ref, store: extra.store ?? store, channel, now: () => performance.now(), random: () => 0.5 }
  return downloadArtifact({ ...options, limits: { ...LIMITS, ...limits } }, onProgress, signal)
}

describe('a download', () => {
  it.each([0, 1, 65_536, 65_537, 3_000_001])('brings %i bytes into the store', async (sizeBytes) => {
    const content = noise(sizeBytes, 7)
    const ref = await publishArtifact(source, content)
    const channel = await channelOf(ref)
    const seen: DownloadProgress[] = []

    const result = await download(ref, channel, { onProgress: (progress) => seen.push(progress) })

    expect((await readFile(result.path)).equals(content)).toBe(true)
    expect(result).toMatchObject({ bytesDone: sizeBytes, bytesTotal: sizeBytes, fetchedBytes: sizeBytes })
    expect(seen.map(({ bytesDone }) => bytesDone)).toEqual(seen.map(({ bytesDone }) => bytesDone).sort((a, b) => a - b))
    expect(await readdir(join(store.root, 'partial'))).toEqual([])
    expect(channel.subscriptions.size).toBe(0)
    expect(await store.manifestOf(ref.digest)).toBeDefined()
  })

  it('fetches nothing that the store has', async () => {
    const ref = await publishArtifact(source, noise(100_000, 1))
    const channel = await channelOf(ref)
    await download(ref, channel)
    const served = channel.served()

    expect(await download(ref, channel)).toMatchObject({ bytesDone: 100_000, fetchedBytes: 0, resumedBytes: 100_000 })
    expect(channel.served()).toBe(served)
  })

  it('survives any mix of lost, repeated, reordered and damaged frames', async () => {
    const content = noise(700_000, 3)
    const ref = await publishArtifact(source, content, [5, 100_000, 100_200, 300_000])
    const fates = fc.array(fc.constantFrom('good', 'good', 'good', 'lost', 'twice', 'damaged', 'cut', 'late'), {
      minLength: 40,
      maxLength: 40,
    })
    await fc.assert(
      fc.asyncProperty(fates, async (plan) => {
        const device = await openArtifactStore(await mkdtemp(join(root, 'device-')))
        const channel = await channelOf(ref)
        let late: Uint8Array[] = []
        let frames = 0
        channel.mishap = (frame) => {
          const fate = plan[frames++] ?? 'good'
          const before = late
          late = []
          if (fate === 'late') late = [frame]
          if (fate === 'lost' || fate === 'late') return before
          if (fate === 'twice') return [frame, frame, ...before]
          if (fate === 'cut') return [frame.subarray(0, frame.byteLength - 1), ...before]
          if (fate === 'damaged') frame[frame.byteLength - 1] = (frame.at(-1) ?? 0) ^ 1
          return [frame, ...before]
        }

        const { path } = await download(ref, channel, { store: device, limits: { maxFruitlessTries: 100 } })

        expect(digestBytes(await readFile(path))).toBe(ref.digest)
      }),
      { numRuns: 15 },
    )
  })

  it('takes no harm from any payload on its topics', async () => {
    const ref = await publishArtifact(source, noise(300_000, 4))
    const channel = await channelOf(ref)
    const payload = fc.oneof(
      fc.uint8Array({ maxLength: 40 }),
      fc
        .record({ index: fc.nat(0xffffffff), bytes: fc.uint8Array({ minLength: 1, maxLength: 100 }) })
        .map(({ index, bytes }) => {
          const frame = allocateChunkFrame(index, bytes.byteLength)
          frame.set(bytes, CHUNK_HEADER_BYTES)
          return frame
        }),
    )
    const junk = fc.sample(
      fc.tuple(fc.constantFrom(ref.digest, ref.manifest.digest, 'f'.repeat(64)), fc.nat(5), payload),
      300,
    )
    channel.mishap = (frame) => {
      for (const [artifact, span, bytes] of junk.splice(0, 30)) channel.inject(artifact, span, bytes)
      return [frame]
    }

    const { path, pull } = await download(ref, channel)

    expect(digestBytes(await readFile(path))).toBe(ref.digest)
    expect(pull?.corruptFrames).toBeGreaterThan(0)
  })

  it('takes chunks that others have asked for', async () => {
    const content = noise(1_000_000, 5)
    const ref = await publishArtifact(source, content)
    const layout = manifestLayout((await source.manifestOf(ref.digest)) as Manifest)
    const channel = await channelOf(ref)
    channel.mishap = (frame) => {
      const { index = 0 } = decodeChunkFrame(frame) ?? {}
      if (frame.byteLength < 20_000) return [frame]
      const next = chunkAt(layout, index + 1)
      if (next === undefined || index % 2 === 1) return [frame]
      const overheard = allocateChunkFrame(index + 1, next.sizeBytes)
      overheard.set(content.subarray(next.offset, next.offset + next.sizeBytes), CHUNK_HEADER_BYTES)
      return [overheard, frame]
    }

    const { path } = await download(ref, channel, { limits: { startBytes: 65_536, maxBytes: 65_536 } })

    expect(digestBytes(await readFile(path))).toBe(ref.digest)
    expect(channel.served()).toBeLessThan(12)
  })

  it('leaves the shared spans when too much comes that only others need, and not because it asks again itself', async () => {
    const ref = await publishArtifact(source, noise(6_000_000, 6))
    const crowded = await channelOf(ref)
    crowded.mishap = (frame) => [frame, frame]
    const lossy = await channelOf(ref)
    let frames = 0
    lossy.mishap = (frame) => (frames++ % 7 === 0 ? [] : [frame])

    const first = await download(ref, crowded)
    await store.remove(ref.digest)
    const second = await download(ref, lossy)

    expect(first.pull?.own).toBe(true)
    expect(crowded.requests.at(-1)?.private).toBe(true)
    expect(second.pull?.own).toBe(false)
  })

  it('asks for no more than its window at once', async () => {
    const ref = await publishArtifact(source, noise(4_000_000, 8))
    const channel = await channelOf(ref)
    let outstanding = 0
    let most = 0
    channel.mishap = (frame) => {
      outstanding += frame.byteLength
      most = Math.max(most, outstanding)
      setImmediate(() => {
        outstanding -= frame.byteLength
      })
      return [frame]
    }

    await download(ref, channel, { limits: { startBytes: 128_000, maxBytes: 256_000 } })

    expect(most).toBeGreaterThan(100_000)
    expect(most).toBeLessThanOrEqual(256_000 + 65_541)
  })
})

describe('a download that is cut off', () => {
  it('goes on where it was and fetches no verified chunk again', async () => {
    const content = noise(3_000_000, 9)
    const ref = await publishArtifact(source, content)
    const channel = await channelOf(ref)
    const abort = new AbortController()
    let before = 0
    const first = download(ref, channel, {
      signal: abort.signal,
      onProgress: ({ fetchedBytes }) => {
        before = fetchedBytes
        if (fetchedBytes > 1_000_000) abort.abort(new Error('power cut'))
      },
    })
    await expect(first).rejects.toThrow('power cut')
    const servedBefore = channel.served()

    const second = await download(ref, channel)

    expect(second).toMatchObject({ bytesDone: 3_000_000, resumedBytes: before, fetchedBytes: 3_000_000 - before })
    expect(channel.served() - servedBefore).toBe(Math.ceil((3_000_000 - before) / 65_218))
    expect((await readFile(second.path)).equals(content)).toBe(true)
  })

  it('trusts nothing it finds on disk', async () => {
    const content = noise(1_000_000, 10)
    const ref = await publishArtifact(source, content)
    const damaged = Buffer.from(content)
    damaged[500_000] = (damaged[500_000] ?? 0) ^ 1
    await writeFile(store.partialPath(ref.digest), damaged)

    const result = await download(ref, await channelOf(ref))

    expect(result.fetchedBytes).toBe(62_500)
    expect((await readFile(result.path)).equals(content)).toBe(true)
  })

  it('copes with a partial file of another length', async () => {
    const content = noise(500_000, 11)
    const ref = await publishArtifact(source, content)
    await writeFile(store.partialPath(ref.digest), Buffer.concat([content, content]))
    const longer = await download(ref, await channelOf(ref))
    await store.remove(ref.digest)
    await writeFile(store.partialPath(ref.digest), content)
    await truncate(store.partialPath(ref.digest), 250_000)
    const shorter = await download(ref, await channelOf(ref))

    expect(longer.fetchedBytes).toBe(0)
    expect(shorter.resumedBytes).toBe(250_000)
    expect(digestBytes(await readFile(shorter.path))).toBe(ref.digest)
  })

  it('waits for the connection, however many tries that would have been', async () => {
    const ref = await publishArtifact(source, noise(2_000_000, 12))
    const channel = await channelOf(ref)
    let lost = false
    const running = download(ref, channel, {
      onProgress: ({ fetchedBytes }) => {
        if (lost || fetchedBytes < 1_000_000) return
        lost = true
        channel.setConnected(false)
      },
    })
    while (!lost) await sleep(1)
    const requestsWhenLost = channel.requests.length
    await sleep(600)
    expect(channel.requests.length).toBeLessThanOrEqual(requestsWhenLost + 1)
    channel.setConnected(true)

    expect((await running).fetchedBytes).toBe(2_000_000)
  })

  it('joins another download of the same artifact', async () => {
    const ref = await publishArtifact(source, noise(500_000, 13))
    const channel = await channelOf(ref)

    const results = await Promise.all([download(ref, channel), download(ref, channel)])

    expect(results.map(({ fetchedBytes }) => fetchedBytes).sort((a, b) => a - b)).toEqual([0, 500_000])
  })

  it('lets one that waits for another be cancelled', async () => {
    const ref = await publishArtifact(source, noise(500_000, 14))
    const channel = await channelOf(ref)
    channel.setConnected(false)
    const abort = new AbortController()
    const first = download(ref, channel)
    const second = download(ref, channel, { signal: abort.signal })
    abort.abort(new Error('not needed any more'))

    await expect(second).rejects.toThrow('not needed any more')
    channel.setConnected(true)
    expect((await first).fetchedBytes).toBe(500_000)
  })
})

describe('a download that cannot be', () => {
  it('ends when nobody answers', async () => {
    const ref = await publishArtifact(source, noise(100_000, 15))
    const channel = await channelOf(ref)
    channel.silent = true

    await expect(download(ref, channel, { limits: FEW_TRIES })).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    expect(channel.subscriptions.size).toBe(0)
  })

  it('ends when its subscriptions are refused, and says why', async () => {
    const ref = await publishArtifact(source, noise(100_000, 16))
    const channel = await channelOf(ref)
    channel.refusal = new Error('not authorized')

    await expect(download(ref, channel, { limits: FEW_TRIES })).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      cause: { message: 'not authorized' },
    })
  })

  it('ends when a chunk only ever comes damaged, and keeps the good ones', async () => {
    const ref = await publishArtifact(source, noise(1_000_000, 17))
    const channel = await channelOf(ref)
    channel.mishap = (frame) => {
      if (decodeChunkFrame(frame)?.index === 3) frame[CHUNK_HEADER_BYTES] = (frame[CHUNK_HEADER_BYTES] ?? 0) ^ 1
      return [frame]
    }

    await expect(download(ref, channel, { limits: FEW_TRIES })).rejects.toMatchObject({ code: 'ARTIFACT_CORRUPT' })
    channel.mishap = (frame) => [frame]
    expect(await download(ref, channel)).toMatchObject({ resumedBytes: 937_500, fetchedBytes: 62_500 })
  })

  it('refuses a manifest that is not the signed one', async () => {
    const ref = await publishArtifact(source, noise(100_000, 18))
    const channel = await channelOf(ref)
    channel.mishap = (frame) => {
      frame[20] = (frame[20] ?? 0) ^ 1
      return [frame]
    }

    await expect(download(ref, channel)).rejects.toMatchObject({ code: 'ARTIFACT_CORRUPT' })
    expect(await store.list()).toEqual([])
  })

  it('refuses a signed manifest of another artifact', async () => {
    const ref = await publishArtifact(source, noise(100_000, 19))
    const other = await publishArtifact(source, noise(100_000, 20))
    const mixed = { ...ref, manifest: other.manifest }

    await expect(download(mixed, await channelOf(ref, other))).rejects.toMatchObject({ code: 'PROTOCOL_INVALID' })
  })

  it('ends with the reason of its signal', async () => {
    const ref = await publishArtifact(source, noise(100_000, 21))
    const channel = await channelOf(ref)
    channel.setConnected(false)

    await expect(download(ref, channel, { signal: AbortSignal.timeout(50) })).rejects.toMatchObject({
      name: 'TimeoutError',
    })
  })
})

describe('a download of a new version', () => {
  it('fetches only the chunks that changed', async () => {
    const tensors = [300_000, 90_000, 500_000, 2_000, 250_000].map((size, i) => noise(size, i + 30))
    const versionOf = (parts: readonly Buffer[]) =>
      publishArtifact(
        source,
        Buffer.concat(parts),
        parts.map((_, i) => Buffer.concat(parts.slice(0, i)).byteLength),
      )
    const one = await versionOf(tensors)
    const two = await versionOf(tensors.with(1, noise(90_003, 99)))
    const channel = await channelOf(one, two)
    await download(one, channel)

    const result = await download(two, channel)

    expect(result).toMatchObject({ fetchedBytes: 90_003, reusedBytes: 1_052_000 })
    expect(digestBytes(await readFile(result.path))).toBe(two.digest)
  })

  it('fetches what the local copy has lost', async () => {
    const one = await publishArtifact(source, noise(500_000, 40), [250_000])
    const two = await publishArtifact(
      source,
      Buffer.concat([noise(250_000, 41), noise(500_000, 40).subarray(250_000)]),
      [250_000],
    )
    const channel = await channelOf(one, two)
    await download(one, channel)
    await truncate(store.path(one.digest), 260_000)

    const result = await download(two, channel)

    expect(result.fetchedBytes).toBe(500_000)
    expect(digestBytes(await readFile(result.path))).toBe(two.digest)
  })
})

describe('a download to a full disk', () => {
  it('is refused before it starts when the space is not there', async () => {
    const ref = await publishArtifact(source, noise(300_000, 50))
    const full: ArtifactStore = { ...store, freeBytes: () => Promise.resolve(350_000) }

    const refused = download(ref, await channelOf(ref), { store: full, limits: { reserveBytes: 100_000 } })

    await expect(refused).rejects.toMatchObject({
      code: 'DISK_FULL',
      details: { neededBytes: 400_000, freeBytes: 350_000 },
    })
    expect(await readdir(join(store.root, 'partial'))).toEqual([])
  })

  it('gives the space back, and works once there is room', async (context) => {
    const disk = join(root, 'disk')
    await mkdir(disk)
    try {
      execFileSync('/bin/mount', ['-t', 'tmpfs', '-o', 'size=3m', 'tmpfs', disk], { stdio: 'ignore' })
    } catch {
      return context.skip('mounting a small disk needs root')
    }
    try {
      const small = await openArtifactStore(join(disk, 'store'))
      const ref = await publishArtifact(source, noise(2_000_000, 51))
      const channel = await channelOf(ref)
      await writeFile(join(disk, 'ballast'), Buffer.alloc(1_500_000))
      // Somebody else fills the disk after the check.
      const unaware: ArtifactStore = { ...small, freeBytes: () => Promise.resolve(1e9) }

      await expect(download(ref, channel, { store: small })).rejects.toMatchObject({ code: 'DISK_FULL' })
      await expect(download(ref, channel, { store: unaware })).rejects.toMatchObject({ code: 'DISK_FULL' })
      expect(await readdir(join(small.root, 'partial'))).toEqual([])

      await rm(join(disk, 'ballast'))
      const { path } = await download(ref, channel, { store: small })
      expect((await stat(path)).size).toBe(2_000_000)
    } finally {
      execFileSync('/bin/umount', [disk])
    }
  })
})
