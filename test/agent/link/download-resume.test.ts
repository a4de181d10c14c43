import { readFile, truncate, writeFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { digestBytes, publishArtifact } from '@edgefit/shared/artifact'
import { describe, expect, it } from 'vitest'
import { noise } from '../../support/transfer-scene.ts'
import { openDownloadScene } from './support/download-scene.ts'

describe('a download that is cut off', () => {
  it('goes on where it was and fetches no verified chunk again', async () => {
    const { source, channelOf, download } = await openDownloadScene()
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
    const { source, store, channelOf, download } = await openDownloadScene()
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
    const { source, store, channelOf, download } = await openDownloadScene()
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
    const { source, channelOf, download } = await openDownloadScene()
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
    const { source, channelOf, download } = await openDownloadScene()
    const ref = await publishArtifact(source, noise(500_000, 13))
    const channel = await channelOf(ref)

    const results = await Promise.all([download(ref, channel), download(ref, channel)])

    expect(results.map(({ fetchedBytes }) => fetchedBytes).sort((a, b) => a - b)).toEqual([0, 500_000])
  })

  it('lets one that waits for another be cancelled', async () => {
    const { source, channelOf, download } = await openDownloadScene()
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
