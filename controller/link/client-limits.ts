import { CHUNK_BACKLOG_DROP_BYTES, MAX_MESSAGE_BYTES } from '@edgefit/shared/protocol'
import type { Client } from 'aedes'

/** A client with this much unread is cut off: chunks are dropped for it before, and all else is small. */
const CUT_OFF_ABOVE_BYTES = CHUNK_BACKLOG_DROP_BYTES + 2 * 2 ** 20
/** A message, its topic and headers. */
const MAX_PACKET_BYTES = MAX_MESSAGE_BYTES + 1024
/** What an unauthenticated client may send at once: CONNECT with credentials and a will. */
const MAX_CONNECT_BYTES = 8 * 1024

/** Parts of aedes' client that its types leave out. A test for each limit notices when a new version moves them. */
interface ClientInternals {
  waitForDrain(done: (error: Error | null, client: Client) => void): void
  readonly _parser: { readonly packet: { readonly length: number } }
}

/**
 * Keeps a client that stops reading from delaying the others. By default a write waits for the socket to drain, and
 * with it the message it belongs to, for every other subscriber and for its publisher. Here a write never waits: what
 * a client leaves unread stays in its socket's buffer, up to a limit.
 */
export function neverWaitForReader(client: Client): void {
  const internals = client as Client & ClientInternals
  internals.waitForDrain = (done) => {
    if (client.conn.writableLength > CUT_OFF_ABOVE_BYTES) client.conn.destroy(new Error('the client does not read'))
    setImmediate(done, null, client)
  }
}

/**
 * Says whether a client still has room for a chunk, and takes it as forwarded if so. What aedes was told to forward
 * reaches the socket only in the next turn of the event loop: until then it is counted here.
 */
export function createChunkGate(): (client: Client, sizeBytes: number) => boolean {
  const onTheWay = new WeakMap<Client, number>()
  return (client, sizeBytes) => {
    const waitingBytes = onTheWay.get(client) ?? 0
    if (client.conn.writableLength + waitingBytes + sizeBytes > CHUNK_BACKLOG_DROP_BYTES) return false
    onTheWay.set(client, waitingBytes + sizeBytes)
    setImmediate(() => onTheWay.set(client, (onTheWay.get(client) ?? 0) - sizeBytes))
    return true
  }
}

/** Cuts a client off as soon as it announces a packet longer than any it may send, before its bytes pile up. */
export function limitPacketSize(client: Client): void {
  const internals = client as Client & ClientInternals
  client.conn.on('readable', () => {
    const limitBytes = client.connected ? MAX_PACKET_BYTES : MAX_CONNECT_BYTES
    if (internals._parser.packet.length > limitBytes) client.conn.destroy(new Error('packet too long'))
  })
}
