import { once } from 'node:events'
import net from 'node:net'

export interface LinkProperties {
  /** From the broker to the device. */
  readonly bytesPerS: number
  /** One way, both ways. */
  readonly delayMs: number
  /** Sees, and may change, what goes to the device. */
  readonly onBytesDown?: (bytes: Buffer) => void
}

export interface SlowLink {
  readonly url: string
  close(): void
}

/** Stands between devices and the broker on `port`, with the rate and the delay of a worse network than this machine's. */
export async function startSlowLink(port: number, link: LinkProperties): Promise<SlowLink> {
  const { onBytesDown = () => undefined } = link
  const server = net.createServer({ noDelay: true }, (device) => {
    const broker = net.connect({ port, host: '127.0.0.1', noDelay: true })
    carry(device, broker, { ...link, bytesPerS: Number.POSITIVE_INFINITY }, () => undefined)
    carry(broker, device, link, onBytesDown)
    device.on('error', () => broker.destroy()).on('close', () => broker.destroy())
    broker.on('error', () => device.destroy()).on('close', () => device.destroy())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `mqtt://127.0.0.1:${(server.address() as net.AddressInfo).port}`,
    close: () => {
      server.close()
    },
  }
}

function carry(from: net.Socket, to: net.Socket, link: LinkProperties, onBytes: (bytes: Buffer) => void): void {
  /** What a link of this length holds, and a router's queue. */
  const capacityBytes = Math.min(Number.MAX_SAFE_INTEGER, (link.bytesPerS * link.delayMs) / 1_000 + 256 * 1_024)
  const held: { readonly bytes: Buffer; readonly dueAtMs: number }[] = []
  let heldBytes = 0
  let freeAtMs = 0

  from.on('data', (bytes: Buffer) => {
    onBytes(bytes)
    freeAtMs = Math.max(freeAtMs, performance.now()) + (bytes.byteLength * 1_000) / link.bytesPerS
    held.push({ bytes, dueAtMs: freeAtMs + link.delayMs })
    heldBytes += bytes.byteLength
    if (heldBytes > capacityBytes) from.pause()
    if (held.length === 1) setTimeout(deliver, link.delayMs)
  })

  /** What is due goes on, in order. */
  function deliver(): void {
    for (let first = held[0]; first !== undefined && first.dueAtMs <= performance.now(); first = held[0]) {
      held.shift()
      heldBytes -= first.bytes.byteLength
      if (to.writable) to.write(first.bytes)
    }
    if (held[0] !== undefined) setTimeout(deliver, Math.max(1, held[0].dueAtMs - performance.now()))
    if (heldBytes > capacityBytes) return
    if (to.writableNeedDrain) {
      if (to.listenerCount('drain') === 0) to.once('drain', () => from.resume())
    } else from.resume()
  }
}
