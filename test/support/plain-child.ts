import { importSigningKey } from '@edgefit/shared/trust'
import { connectAsync } from 'mqtt'
import { deviceCredentials } from './transfer-scene.ts'

/** What a plain subscriber in a process of its own is to receive, as JSON in its only argument. */
export interface PlainTask {
  readonly url: string
  readonly topic: string
  readonly qos: 0 | 1
  readonly sizeBytes: number
  readonly key: string | null
}

/** A line of its standard output. Time counts from the line that comes in. */
export type PlainLine =
  | { readonly kind: 'ready' }
  | { readonly kind: 'done'; readonly receivedBytes: number; readonly durationMs: number }

/** After this long without a message, what has not come is lost. */
const GIVE_UP_MS = 2_000

const task = JSON.parse(process.argv[2] ?? '{}') as PlainTask
const credentials = task.key === null ? {} : await deviceCredentials('plain', importSigningKey(task.key, 'the key'))
const client = await connectAsync(task.url, { clientId: 'plain', ...credentials })
let receivedBytes = 0
let startedMs = 0
let lastMs = 0
client.on('message', (_, payload) => {
  receivedBytes += payload.byteLength
  lastMs = performance.now()
  if (receivedBytes >= task.sizeBytes) finish()
})
await client.subscribeAsync(task.topic, { qos: task.qos })
say({ kind: 'ready' })
process.stdin.once('data', () => {
  startedMs = performance.now()
  lastMs = startedMs
  setInterval(() => performance.now() - lastMs > GIVE_UP_MS && finish(), 100)
})

function finish(): void {
  say({ kind: 'done', receivedBytes, durationMs: lastMs - startedMs })
  client.stream.destroy()
  process.exit(0)
}

function say(line: PlainLine): void {
  process.stdout.write(`${JSON.stringify(line)}\n`)
}
