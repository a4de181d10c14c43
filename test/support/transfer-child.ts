import { createInterface } from 'node:readline'
import type { ArtifactRef } from '@edgefit/shared/model'
import { importSigningKey } from '@edgefit/shared/trust'
import { downloadArtifact } from '../../agent/link/download.ts'
import { startSceneDevice } from './transfer-scene.ts'

/** What a device in a process of its own is to download, as JSON in its only argument. */
export interface TransferTask {
  readonly name: string
  readonly url: string
  /** Where its store is. */
  readonly root: string
  readonly ref: ArtifactRef
  /** PEM; `null` for a broker that lets everybody in. */
  readonly key: string | null
}

/** A line of its standard output. It downloads, from nothing or what an earlier process has left, per line that comes in. */
export type TransferLine =
  | { readonly kind: 'ready' }
  | { readonly kind: 'progress'; readonly fetchedBytes: number }
  | {
      readonly kind: 'done'
      readonly fetchedBytes: number
      readonly resumedBytes: number
      readonly durationMs: number
      /** Since it was ready, and how much it was then. */
      readonly peakRssBytes: number
      readonly readyRssBytes: number
    }

const PROGRESS_EVERY_BYTES = 2 ** 20

const task = JSON.parse(process.argv[2] ?? '{}') as TransferTask
const device = await startSceneDevice(task.name, task.url, {
  root: task.root,
  key: task.key === null ? undefined : importSigningKey(task.key, 'the key of the task'),
})
const readyRssBytes = process.memoryUsage.rss()
let peakRssBytes = readyRssBytes
say({ kind: 'ready' })
for await (const _ of createInterface({ input: process.stdin })) {
  const startedMs = performance.now()
  const { fetchedBytes, resumedBytes } = await download()
  const durationMs = performance.now() - startedMs
  peakRssBytes = Math.max(peakRssBytes, process.memoryUsage.rss())
  await device.store.verify(task.ref.digest)
  await device.store.remove(task.ref.digest)
  say({ kind: 'done', fetchedBytes, resumedBytes, durationMs, peakRssBytes, readyRssBytes })
}

function download() {
  const { store, channel } = device
  let saidBytes = 0
  return downloadArtifact(
    { ref: task.ref, store, channel, now: () => performance.now(), random: Math.random },
    ({ fetchedBytes }) => {
      if (fetchedBytes < saidBytes + PROGRESS_EVERY_BYTES) return
      saidBytes = fetchedBytes
      peakRssBytes = Math.max(peakRssBytes, process.memoryUsage.rss())
      say({ kind: 'progress', fetchedBytes })
    },
    AbortSignal.timeout(600_000),
  )
}

function say(line: TransferLine): void {
  process.stdout.write(`${JSON.stringify(line)}\n`)
}
