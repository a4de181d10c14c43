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
  /** Whether to remove the artifact and start again, for ever. */
  readonly again: boolean
}

/** A line of its standard output. It starts downloading when a line comes in. */
export type TransferLine =
  | { readonly kind: 'ready' }
  | { readonly kind: 'progress'; readonly fetchedBytes: number }
  | {
      readonly kind: 'done'
      readonly fetchedBytes: number
      readonly resumedBytes: number
      readonly durationMs: number
      readonly peakRssBytes: number
    }

const PROGRESS_EVERY_BYTES = 2 ** 20

const task = JSON.parse(process.argv[2] ?? '{}') as TransferTask
const device = await startSceneDevice(task.name, task.url, {
  root: task.root,
  key: task.key === null ? undefined : importSigningKey(task.key, 'the key of the task'),
})
say({ kind: 'ready' })
await new Promise((resolve) => process.stdin.once('data', resolve))
do {
  const startedMs = performance.now()
  const { fetchedBytes, resumedBytes } = await download()
  const durationMs = performance.now() - startedMs
  say({ kind: 'done', fetchedBytes, resumedBytes, durationMs, peakRssBytes: process.resourceUsage().maxRSS * 1024 })
  if (task.again) await device.store.remove(task.ref.digest)
} while (task.again)
await device.stop()
process.exit(0)

function download() {
  const { store, channel } = device
  let saidBytes = 0
  return downloadArtifact(
    { ref: task.ref, store, channel, now: () => performance.now(), random: Math.random },
    ({ fetchedBytes }) => {
      if (fetchedBytes < saidBytes + PROGRESS_EVERY_BYTES) return
      saidBytes = fetchedBytes
      say({ kind: 'progress', fetchedBytes })
    },
    AbortSignal.timeout(600_000),
  )
}

function say(line: TransferLine): void {
  process.stdout.write(`${JSON.stringify(line)}\n`)
}
