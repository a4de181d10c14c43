import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createWriteStream, type WriteStream } from 'node:fs'
import { createInterface } from 'node:readline'
import { connectAsync } from 'mqtt'

/** What a plain subscriber in a process of its own is to receive, as JSON in its only argument. */
export interface PlainTask {
  readonly name: string
  readonly url: string
  readonly topic: string
  readonly qos: 0 | 1
  readonly sizeBytes: number
  /** Where to write what comes, hashed and synced before it counts as received; `null` to throw it away. */
  readonly path: string | null
}

/** A line of its standard output. It receives once per line that comes in, and time counts from there. */
export type PlainLine =
  | { readonly kind: 'ready' }
  | { readonly kind: 'done'; readonly receivedBytes: number; readonly durationMs: number }

/** After this long without a message, what has not come is lost. */
const GIVE_UP_MS = 2_000

const task = JSON.parse(process.argv[2] ?? '{}') as PlainTask
const client = await connectAsync(task.url, { clientId: task.name })
let receivedBytes = 0
let lastMs = 0
let onAll: () => void = () => undefined
let file: WriteStream | undefined
let hash = createHash('sha256')
client.on('message', (_, payload) => {
  receivedBytes += payload.byteLength
  lastMs = performance.now()
  if (file !== undefined) {
    hash.update(payload)
    file.write(payload)
  }
  if (receivedBytes >= task.sizeBytes) onAll()
})
await client.subscribeAsync(task.topic, { qos: task.qos })
say({ kind: 'ready' })
for await (const _ of createInterface({ input: process.stdin })) {
  const startedMs = performance.now()
  lastMs = startedMs
  receivedBytes = 0
  hash = createHash('sha256')
  file = task.path === null ? undefined : createWriteStream(task.path, { flush: true })
  await new Promise<void>((resolve) => {
    const watch = setInterval(() => performance.now() - lastMs > GIVE_UP_MS && onAll(), 100)
    onAll = () => {
      clearInterval(watch)
      resolve()
    }
  })
  if (file !== undefined) {
    hash.digest()
    file.end()
    await once(file, 'close')
    lastMs = performance.now()
  }
  say({ kind: 'done', receivedBytes, durationMs: lastMs - startedMs })
}

function say(line: PlainLine): void {
  process.stdout.write(`${JSON.stringify(line)}\n`)
}
