import { mkdtemp, readdir, readFile, truncate } from 'node:fs/promises'
import { join } from 'node:path'
import {
  chunkAt,
  digestBytes,
  type Manifest,
  manifestLayout,
  openArtifactStore,
  publishArtifact,
} from '@edgefit/shared/artifact'
import { allocateChunkFrame, CHUNK_HEADER_BYTES, decodeChunkFrame } from '@edgefit/shared/protocol'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { DownloadProgress } from '../../../agent/link/download.ts'
import { noise } from '../../support/transfer-scene.ts'
import { openDownloadScene } from './support/download-scene.ts'

describe('a download', () => {
  it.each([0, 1, 65_536, 65_537, 3_000_001])('brings %i bytes into the store', async (sizeBytes) => {
    const { source, store, channelOf, download } = await openDownloadScene()
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
    const { source, channelOf, download } = await openDownloadScene()
    const ref = await publishArtifact(source, noise(100_000, 1))
    const channel = await channelOf(ref)
    await download(ref, channel)
    const served = channel.served()

    expect(await download(ref, channel)).toMatchObject({ bytesDone: 100_000, fetchedBytes: 0, resumedBytes: 100_000 })
    expect(channel.served()).toBe(served)
  })

  it('survives any mix of lost, repeated, reordered and damaged frames', async () => {
    const { root, source, channelOf, download } = await openDownloadScene()
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
    const { source, channelOf, download } = await openDownloadScene()
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
    const { source, channelOf, download } = await openDownloadScene()
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
    const { source, store, channelOf, download } = await openDownloadScene()
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
    const { source, channelOf, download } = await openDownloadScene()
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

describe('a download of a new version', () => {
  it('fetches only the chunks that changed', async () => {
    const { source, channelOf, download } = await openDownloadScene()
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
    const { source, store, channelOf, download } = await openDownloadScene()
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
