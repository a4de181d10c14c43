import { execFileSync } from 'node:child_process'
import { mkdir, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type ArtifactStore, openArtifactStore, publishArtifact } from '@edgefit/shared/artifact'
import { CHUNK_HEADER_BYTES, decodeChunkFrame } from '@edgefit/shared/protocol'
import { describe, expect, it } from 'vitest'
import { noise } from '../../support/transfer-scene.ts'
import { FEW_TRIES, openDownloadScene } from './support/download-scene.ts'

describe('a download that cannot be', () => {
  it('ends when nobody answers', async () => {
    const { source, channelOf, download } = await openDownloadScene()
    const ref = await publishArtifact(source, noise(100_000, 15))
    const channel = await channelOf(ref)
    channel.silent = true

    await expect(download(ref, channel, { limits: FEW_TRIES })).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    expect(channel.subscriptions.size).toBe(0)
  })

  it('ends when its subscriptions are refused, and says why', async () => {
    const { source, channelOf, download } = await openDownloadScene()
    const ref = await publishArtifact(source, noise(100_000, 16))
    const channel = await channelOf(ref)
    channel.refusal = new Error('not authorized')

    await expect(download(ref, channel, { limits: FEW_TRIES })).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      cause: { message: 'not authorized' },
    })
  })

  it('ends when a chunk only ever comes damaged, and keeps the good ones', async () => {
    const { source, channelOf, download } = await openDownloadScene()
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
    const { source, store, channelOf, download } = await openDownloadScene()
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
    const { source, channelOf, download } = await openDownloadScene()
    const ref = await publishArtifact(source, noise(100_000, 19))
    const other = await publishArtifact(source, noise(100_000, 20))
    const mixed = { ...ref, manifest: other.manifest }

    await expect(download(mixed, await channelOf(ref, other))).rejects.toMatchObject({ code: 'PROTOCOL_INVALID' })
  })

  it('ends with the reason of its signal', async () => {
    const { source, channelOf, download } = await openDownloadScene()
    const ref = await publishArtifact(source, noise(100_000, 21))
    const channel = await channelOf(ref)
    channel.setConnected(false)

    await expect(download(ref, channel, { signal: AbortSignal.timeout(50) })).rejects.toMatchObject({
      name: 'TimeoutError',
    })
  })
})

describe('a download to a full disk', () => {
  it('is refused before it starts when the space is not there', async () => {
    const { source, store, channelOf, download } = await openDownloadScene()
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
    const { root, source, channelOf, download } = await openDownloadScene()
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
