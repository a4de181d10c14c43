import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { digestBytes, type Manifest, publishArtifact } from '@edgefit/shared/artifact'
import type { ArtifactRef } from '@edgefit/shared/model'
import { tensorBorders } from '@edgefit/shared/onnx'
import { exportSigningKey } from '@edgefit/shared/trust'
import { describe, expect, it, onTestFinished } from 'vitest'
import { type DownloadLimits, type DownloadProgress, downloadArtifact } from '../../agent/link/download.ts'
import type { EmbeddedBroker } from '../../controller/link/embedded-broker.ts'
import { startLineChild } from '../support/child-lines.ts'
import { type LinkProperties, startSlowLink } from '../support/slow-link.ts'
import type { TransferLine, TransferTask } from '../support/transfer-child.ts'
import { freezeReader, startControlProbe } from '../support/transfer-probes.ts'
import {
  DEVICE_KEY,
  noise,
  type SceneController,
  type SceneDevice,
  startMosquitto,
  startSceneBroker,
  startSceneController,
  startSceneDevice,
} from '../support/transfer-scene.ts'

const LIMITS: Partial<DownloadLimits> = {
  firstPatienceMs: 400,
  minPatienceMs: 200,
  maxPatienceMs: 1_000,
  reserveBytes: 0,
}

interface Scene {
  broker: EmbeddedBroker
  readonly controller: SceneController
  readonly url: string
}

async function scene(options: Parameters<typeof startSceneController>[1] = {}): Promise<Scene> {
  const broker = await startSceneBroker()
  const self: { broker: EmbeddedBroker } = { broker }
  const controller = await startSceneController(
    { kind: 'embedded', openStream: () => self.broker.openStream() },
    options,
  )
  onTestFinished(async () => {
    await controller.stop()
    await self.broker.close()
  })
  return Object.assign(self, { controller, url: `mqtt://127.0.0.1:${broker.tcpPort}` })
}

async function deviceOf(url: string, name = 'device'): Promise<SceneDevice> {
  const device = await startSceneDevice(name, url)
  onTestFinished(() => device.stop())
  return device
}

function download(
  device: SceneDevice,
  ref: ArtifactRef,
  extra: {
    signal?: AbortSignal
    onProgress?: (progress: DownloadProgress) => void
    limits?: Partial<DownloadLimits>
  } = {},
) {
  const { store, channel } = device
  const options = { ref, store, channel, now: () => performance.now(), random: Math.random }
  return downloadArtifact(
    { ...options, limits: { ...LIMITS, ...extra.limits } },
    extra.onProgress ?? (() => undefined),
    extra.signal ?? AbortSignal.timeout(60_000),
  )
}

describe('an artifact', () => {
  it('comes through the embedded broker', async () => {
    const { controller, url } = await scene()
    const device = await deviceOf(url)
    const content = noise(10_000_000, 1)
    const ref = await publishArtifact(controller.store, content)

    const result = await download(device, ref)

    expect((await readFile(result.path)).equals(content)).toBe(true)
    expect(controller.unserved).toEqual([])
    expect(controller.server.stats().publishedBytes).toBe(ref.sizeBytes + ref.manifest.sizeBytes)
  })

  it('comes through Mosquitto', async (context) => {
    const mosquitto = await startMosquitto()
    if (mosquitto === undefined) return context.skip('Mosquitto is not installed')
    onTestFinished(() => mosquitto.stop())
    const controller = await startSceneController({ kind: 'external', url: mosquitto.url })
    const device = await startSceneDevice('device', mosquitto.url, { key: undefined })
    onTestFinished(async () => {
      await device.stop()
      await controller.stop()
    })
    const ref = await publishArtifact(controller.store, noise(10_000_000, 2))

    const result = await download(device, ref)

    expect(digestBytes(await readFile(result.path))).toBe(ref.digest)
  })

  it('comes whole when bytes are damaged on the way', async () => {
    const { controller, url } = await scene()
    const marker = Buffer.from('a place that the wire damages')
    const content = noise(3_000_000, 3)
    for (let at = 30_000; at < content.byteLength; at += 65_536) content.set(marker, at)
    const ref = await publishArtifact(controller.store, content)
    let damaged = 0
    const damage = (bytes: Buffer) => {
      const at = bytes.indexOf(marker)
      if (at < 0 || damaged === 3) return
      bytes[at] = (bytes[at] ?? 0) ^ 0x20
      damaged++
    }
    const device = await deviceOf(await linkTo(url, { onBytesDown: damage }))

    const result = await download(device, ref)

    expect(result.pull?.corruptFrames).toBe(3)
    expect((await readFile(result.path)).equals(content)).toBe(true)
  })

  it('goes on after a broken off attempt without fetching verified chunks again', async () => {
    const { controller, url } = await scene()
    const device = await deviceOf(url)
    const ref = await publishArtifact(controller.store, noise(10_000_000, 4))
    const abort = new AbortController()
    const stopHalfway = ({ fetchedBytes }: DownloadProgress) =>
      fetchedBytes > 5_000_000 && abort.abort(new Error('stop'))
    await expect(download(device, ref, { signal: abort.signal, onProgress: stopHalfway })).rejects.toThrow('stop')
    await sleep(100)
    const publishedBefore = controller.server.stats().publishedBytes

    const result = await download(device, ref)

    expect(result.resumedBytes).toBeGreaterThan(5_000_000)
    expect(result.fetchedBytes).toBe(10_000_000 - result.resumedBytes)
    expect(controller.server.stats().publishedBytes - publishedBefore).toBe(result.fetchedBytes)
  })

  it('goes on after the process was killed', async () => {
    const { controller, url } = await scene()
    const ref = await publishArtifact(controller.store, noise(30_000_000, 5))
    const root = await mkdtemp(join(tmpdir(), 'edgefit-killed-'))
    onTestFinished(() => rm(root, { recursive: true, force: true }))
    const task = { name: 'device', url, root, ref, key: exportSigningKey(DEVICE_KEY) }

    let seenBytes = 0
    await runChild(task, (line, kill) => {
      if (line.kind !== 'progress') return
      seenBytes = line.fetchedBytes
      if (seenBytes > 10_000_000) kill()
    })
    let done: TransferLine | undefined
    await runChild(task, (line) => {
      if (line.kind === 'done') done = line
    })

    expect(done).toMatchObject({ kind: 'done' })
    const { resumedBytes = 0, fetchedBytes = 0 } = done?.kind === 'done' ? done : {}
    expect(resumedBytes).toBeGreaterThanOrEqual(seenBytes)
    expect(fetchedBytes).toBe(30_000_000 - resumedBytes)
  })

  it('takes memory for its window and not for its size', async () => {
    const { controller, url } = await scene()
    const ref = await publishArtifact(controller.store, noise(160_000_000, 11))
    const root = await mkdtemp(join(tmpdir(), 'edgefit-large-'))
    onTestFinished(() => rm(root, { recursive: true, force: true }))

    let grownBytes = Number.NaN
    await runChild({ name: 'device', url, root, ref, key: exportSigningKey(DEVICE_KEY) }, (line) => {
      if (line.kind === 'done') grownBytes = line.peakRssBytes - line.readyRssBytes
    })

    expect(grownBytes).toBeLessThan(ref.sizeBytes / 2)
  })

  it('comes although the broker restarts on the way', async () => {
    const stage = await scene()
    const device = await deviceOf(stage.url)
    const ref = await publishArtifact(stage.controller.store, noise(20_000_000, 6))
    const port = Number(new URL(stage.url).port)
    let restarting: Promise<void> | undefined
    const restart = async () => {
      await stage.broker.close()
      await sleep(500)
      stage.broker = await startSceneBroker(port)
    }

    const result = await download(device, ref, {
      onProgress: ({ fetchedBytes }) => {
        if (fetchedBytes > 8_000_000) restarting ??= restart()
      },
    })
    await restarting

    expect(restarting).toBeDefined()
    expect(result.fetchedBytes).toBe(20_000_000)
    expect(digestBytes(await readFile(result.path))).toBe(ref.digest)
  })

  it('is published about once for devices that fetch it together', async () => {
    const { controller, url } = await scene()
    const devices = await Promise.all(['d1', 'd2', 'd3'].map((name) => deviceOf(url, name)))
    const ref = await publishArtifact(controller.store, noise(20_000_000, 7))

    const results = await Promise.all(devices.map((device) => download(device, ref)))

    for (const { path } of results) expect(digestBytes(await readFile(path))).toBe(ref.digest)
    expect(controller.server.stats().publishedBytes).toBeLessThan(2 * ref.sizeBytes)
  })

  it('goes to a device that reads slowly on a topic of its own, once others have passed it', async () => {
    const { controller, url } = await scene()
    const ref = await publishArtifact(controller.store, noise(8_000_000, 8))
    const slow = await deviceOf(await linkTo(url, { bytesPerS: 1_500_000 }), 'slow')
    const slowDone = download(slow, ref, {
      limits: { seconds: 0.2, firstPatienceMs: 3_000, minPatienceMs: 3_000, maxPatienceMs: 6_000 },
    })
    for (const name of ['d1', 'd2', 'd3', 'd4']) {
      await sleep(300)
      await download(await deviceOf(url, name), ref)
    }

    const result = await slowDone

    expect(digestBytes(await readFile(result.path))).toBe(ref.digest)
    expect(result.pull?.own).toBe(true)
  })
})

describe('a new version of a model', () => {
  it('sends the tensor that changed and little else', async () => {
    const { controller, url } = await scene()
    const device = await deviceOf(url)
    const model = await readFile(new URL('../../deploy/demo/data/fashion-resnet14.onnx', import.meta.url))
    const borders = tensorBorders(model)
    const [start, end] = borders
      .flatMap((at, i) => [[at, borders[i + 1] ?? at] as const])
      .find(([from, to]) => to - from === 147_456) ?? [0, 0]
    const retrained = Buffer.from(model)
    retrained.set(noise(end - start, 9), start)
    const one = await publishArtifact(controller.store, model, borders)
    const two = await publishArtifact(controller.store, retrained, tensorBorders(retrained))
    await download(device, one)
    const publishedBefore = controller.server.stats().publishedBytes

    const result = await download(device, two)

    expect(end - start).toBe(147_456)
    expect(result).toMatchObject({ fetchedBytes: end - start, reusedBytes: model.byteLength - (end - start) })
    expect(controller.server.stats().publishedBytes - publishedBefore).toBe(end - start + two.manifest.sizeBytes)
    expect(digestBytes(await readFile(result.path))).toBe(two.digest)
  })
})

describe('a device that stops reading in the middle of a transfer', () => {
  // Again when it fails: other programs on the machine may take the processor just while one of the two is measured.
  it('does not delay what the controller tells the others', { retry: 2 }, async () => {
    const { controller, url } = await scene()
    const busy = await deviceOf(url, 'busy')
    const ref = await publishArtifact(controller.store, noise(20_000_000, 10))
    const manifest = (await controller.store.manifestOf(ref.digest)) as Manifest
    const control = await startControlProbe(controller, url, DEVICE_KEY)
    onTestFinished(() => control.stop())
    const stop = new AbortController()
    let fetchedBytes = 0
    const transfers = (async () => {
      while (!stop.signal.aborted) {
        fetchedBytes += (await download(busy, ref, { signal: stop.signal }).catch(() => undefined))?.fetchedBytes ?? 0
        await busy.store.remove(ref.digest)
      }
    })()

    await control.delaysMs(0.5)
    const before = await control.delaysMs(2)
    const frozen = await freezeReader(url, ref.digest, manifest, DEVICE_KEY)
    onTestFinished(() => void frozen.end())
    const fetchedBeforeBytes = fetchedBytes
    const withFrozen = await control.delaysMs(3)
    const fetchedMeanwhileBytes = fetchedBytes - fetchedBeforeBytes
    const { isConnected, hasRead } = frozen.end()
    const after = await control.delaysMs(2)
    stop.abort()
    await transfers

    expect({ isConnected, hasRead }).toEqual({ isConnected: true, hasRead: false })
    expect(fetchedMeanwhileBytes).toBeGreaterThanOrEqual(ref.sizeBytes)
    expect(median(withFrozen)).toBeLessThanOrEqual(2 * median([...before, ...after]))
  })
})

async function linkTo(url: string, properties: Partial<LinkProperties>): Promise<string> {
  const port = Number(new URL(url).port)
  const link = await startSlowLink(port, { bytesPerS: Number.POSITIVE_INFINITY, delayMs: 0, ...properties })
  onTestFinished(link.close)
  return link.url
}

/** A device in a process of its own, downloading. */
async function runChild(task: TransferTask, onLine: (line: TransferLine, kill: () => void) => void): Promise<void> {
  const child = startLineChild<TransferLine>('transfer-child.ts', task)
  onTestFinished(child.kill)
  for (let line = await child.next(); line !== undefined; line = await child.next()) {
    if (line.kind === 'ready') child.go()
    onLine(line, child.kill)
    if (line.kind === 'done') child.kill()
  }
  await child.ended
}

function median(values: readonly number[]): number {
  return quantile(values, 0.5)
}

function quantile(values: readonly number[], level: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.floor(level * (sorted.length - 1))] ?? Number.NaN
}
