import type { ArtifactRef } from '@edgefit/shared/model'
import { importSigningKey } from '@edgefit/shared/trust'
import { downloadArtifact } from '../../agent/link/download.ts'
import { startSceneDevice } from './transfer-scene.ts'

/** What the child is to do, as JSON in its only argument. */
export interface TransferTask {
  readonly name: string
  readonly url: string
  /** Where its store is. */
  readonly root: string
  readonly ref: ArtifactRef
  /** PEM; `null` for a broker that lets everybody in. */
  readonly key: string | null
}

/** A line of the child's standard output. */
export type TransferLine =
  | { readonly kind: 'ready' }
  | { readonly kind: 'progress'; readonly fetchedBytes: number; readonly resumedBytes: number }
  | {
      readonly kind: 'done'
      readonly fetchedBytes: number
      readonly resumedBytes: number
      readonly frames: number
      readonly durationMs: number
      readonly peakRssBytes: number
    }

const task = JSON.parse(process.argv[2] ?? '{}') as TransferTask
const device = await startSceneDevice(task.name, task.url, {
  root: task.root,
  key: task.key === null ? undefined : importSigningKey(task.key, 'the key of the task'),
})
say({ kind: 'ready' })
await new Promise((resolve) => process.stdin.once('data', resolve))
const startedMs = performance.now()
const { fetchedBytes, resumedBytes } = await downloadArtifact(
  { ref: task.ref, store: device.store, channel: device.channel, now: () => performance.now(), random: Math.random },
  (progress) => say({ kind: 'progress', fetchedBytes: progress.fetchedBytes, resumedBytes: progress.resumedBytes }),
  AbortSignal.timeout(120_000),
)
const durationMs = performance.now() - startedMs
const peakRssBytes = process.resourceUsage().maxRSS * 1024
say({ kind: 'done', fetchedBytes, resumedBytes, frames: device.frames(), durationMs, peakRssBytes })
await device.stop()
process.exit(0)

function say(line: TransferLine): void {
  process.stdout.write(`${JSON.stringify(line)}\n`)
}
