import { once } from 'node:events'
import net from 'node:net'
import { type Duplex, duplexPair } from 'node:stream'
import tls from 'node:tls'
import { EdgefitError } from '@edgefit/shared'
import { MAX_MESSAGE_BYTES } from '@edgefit/shared/protocol'
import { Aedes, type AuthenticateError, type Client, type PublishPacket } from 'aedes'
import type { Logger } from 'pino'
import { isAllowed, isRetainable, type Principal } from './authorize.ts'
import { createChunkGate, limitPacketSize, neverWaitForReader } from './client-limits.ts'
import type { DeviceDirectory } from './ports.ts'
import { createSignIn } from './sign-in.ts'

/** CONNACK return codes. */
const RETURN_CODES = { unavailable: 3, 'bad-credentials': 4, 'not-authorized': 5 } as const
const LOCAL_STREAM_BUFFER_BYTES = 2 ** 20

interface ListenAddress {
  readonly host: string
  /** 0: one that is free. */
  readonly port: number
}

export interface EmbeddedBrokerOptions {
  readonly fleet: string
  /** At least one of the two. */
  readonly tcp?: ListenAddress
  readonly tls?: ListenAddress & { readonly cert: string; readonly key: string }
  readonly directory: Pick<DeviceDirectory, 'findIdentity' | 'admitToken'>
  readonly now: () => number
  readonly log: Logger
}

export interface EmbeddedBroker {
  readonly tcpPort: number | undefined
  readonly tlsPort: number | undefined
  /** A connection of the controller itself, inside the process; it may do everything. */
  openStream(): Duplex
  /** Ends a device's connection, if it has one: its state has changed. */
  disconnect(device: string): Promise<void>
  /** New connections get this certificate; those that stand are not touched. @throws EdgefitError CONFIG_INVALID */
  renewCertificate(files: { readonly cert: string; readonly key: string }): void
  close(): Promise<void>
}

/**
 * A broker in the controller's process: MQTT 3.1.1, clean sessions, nothing on disk.
 *
 * @throws EdgefitError UNAVAILABLE where a port cannot be opened; CONFIG_INVALID for a certificate that cannot be used.
 */
export async function startEmbeddedBroker(options: EmbeddedBrokerOptions): Promise<EmbeddedBroker> {
  const { fleet, directory, now, log } = options
  if (options.tls !== undefined) assertUsable(options.tls)
  const signIn = createSignIn({ fleet, directory, now })
  const principals = new WeakMap<Client, Principal>()
  const deviceClients = new Map<string, Client>()
  const localStreams = new WeakSet<object>()
  const streams = new Set<Duplex>()
  const hasRoomForChunk = createChunkGate()

  const aedes = await Aedes.createBroker({
    concurrency: 0, // no limit that one slow delivery could use up for all
    drainTimeout: 2_000, // were a write to wait after all
    connectTimeout: 10_000,
    keepaliveLimit: 1200, // without a keepalive a dead connection is never noticed
    maxInflightInbound: 10,
    preConnect(_, packet, done) {
      // A session that outlives its connection would collect messages for a device without bound.
      if (packet.clean !== true) return done(new Error('only clean sessions are served'), false)
      done(null, true)
    },
    authenticate(client, username, password, done) {
      if (localStreams.has(client.conn)) {
        principals.set(client, { kind: 'controller' })
        return done(null, true)
      }
      const sent = { clientId: client.id, username: username ?? '', password: password?.toString() ?? '' }
      signIn(sent).then(
        (result) => {
          if (result.kind !== 'accepted') {
            log.info({ clientId: client.id, why: result.why }, 'sign-in refused')
            return done(refusal(result.why, RETURN_CODES[result.kind]), false)
          }
          principals.set(client, result.principal)
          done(null, true)
        },
        (error: unknown) => {
          log.error({ err: error, clientId: client.id }, 'sign-in could not be checked')
          done(refusal('sign-in could not be checked', RETURN_CODES.unavailable), false)
        },
      )
    },
    authorizePublish(client, packet, done) {
      if (client === null) return done(null)
      const fault = publishFault(client, packet)
      if (fault !== undefined) log.warn({ clientId: client.id, topic: packet.topic, why: fault }, 'publish refused')
      done(fault === undefined ? null : new Error(fault))
    },
    authorizeSubscribe(client, subscription, done) {
      const principal = principals.get(client)
      if (principal !== undefined && isAllowed(principal, 'subscribe', subscription.topic, fleet))
        return done(null, subscription)
      log.warn({ clientId: client.id, topic: subscription.topic }, 'subscription refused')
      done(null, null)
    },
    authorizeForward(client, packet) {
      if (packet.qos > 0 || principals.get(client)?.kind === 'controller') return packet
      return hasRoomForChunk(client, packet.payload.length) ? packet : null
    },
  })

  function publishFault(client: Client, { topic, payload, retain }: PublishPacket): string | undefined {
    const principal = principals.get(client)
    if (principal === undefined || !isAllowed(principal, 'publish', topic, fleet)) return 'not a topic of this client'
    if (payload.length > MAX_MESSAGE_BYTES) return `${payload.length} bytes are too many`
    if (retain && principal.kind !== 'controller' && !isRetainable(topic)) return 'not a topic to be retained'
    return undefined
  }

  /** An operator may have decided between the sign-in and its being known, when there was no connection to end yet. */
  async function endIfLeft(client: Client, device: string): Promise<void> {
    try {
      if ((await directory.findIdentity(device))?.state === 'accepted') return
    } catch (error) {
      log.error({ err: error, device }, 'device could not be looked up')
    }
    client.close()
  }

  aedes.on('client', (client) => {
    const principal = principals.get(client)
    if (principal?.kind !== 'device') return
    deviceClients.set(principal.device, client)
    void endIfLeft(client, principal.device)
  })
  aedes.on('clientDisconnect', (client) => {
    const principal = principals.get(client)
    if (principal?.kind === 'device' && deviceClients.get(principal.device) === client)
      deviceClients.delete(principal.device)
  })
  aedes.on('clientError', (client, error) => log.debug({ clientId: client.id, err: error }, 'connection lost'))
  aedes.on('connectionError', (_, error) => log.debug({ err: error }, 'connection refused'))

  function serve(stream: Duplex): void {
    streams.add(stream)
    stream.once('close', () => streams.delete(stream))
    const client = aedes.handle(stream)
    neverWaitForReader(client)
    if (!localStreams.has(stream)) limitPacketSize(client)
  }

  const tcpServer = options.tcp && net.createServer({ noDelay: true }, serve)
  const tlsServer =
    options.tls &&
    tls.createServer(
      { noDelay: true, cert: options.tls.cert, key: options.tls.key, handshakeTimeout: 10_000, minVersion: 'TLSv1.2' },
      serve,
    )
  tlsServer?.on('tlsClientError', (error) => log.debug({ err: error }, 'TLS handshake failed'))

  async function close(): Promise<void> {
    const closed = [tcpServer, tlsServer].map((server) => server && new Promise((done) => server.close(done)))
    await new Promise<void>((done) => aedes.close(() => done()))
    for (const stream of streams) stream.destroy()
    await Promise.all(closed)
  }

  try {
    if (tcpServer && options.tcp) await listen(tcpServer, options.tcp)
    if (tlsServer && options.tls) await listen(tlsServer, options.tls)
  } catch (error) {
    await close()
    throw error
  }

  return {
    tcpPort: portOf(tcpServer),
    tlsPort: portOf(tlsServer),
    openStream() {
      const [near, far] = duplexPair({ highWaterMark: LOCAL_STREAM_BUFFER_BYTES })
      // Node leaves each end to itself.
      far.once('close', () => near.destroy())
      near.once('close', () => far.destroy())
      localStreams.add(far)
      serve(far)
      return near
    },
    async disconnect(device) {
      const client = deviceClients.get(device)
      if (client !== undefined) await new Promise<void>((done) => client.close(done))
    },
    renewCertificate(files) {
      assertUsable(files)
      tlsServer?.setSecureContext(files)
    },
    close,
  }
}

function assertUsable({ cert, key }: { readonly cert: string; readonly key: string }): void {
  try {
    tls.createSecureContext({ cert, key })
  } catch (cause) {
    throw new EdgefitError('the broker certificate cannot be used: it and its key must be PEM, and belong together', {
      code: 'CONFIG_INVALID',
      cause,
    })
  }
}

async function listen(server: net.Server, { host, port }: ListenAddress): Promise<void> {
  server.listen(port, host)
  try {
    await once(server, 'listening')
  } catch (cause) {
    throw new EdgefitError(`broker: cannot listen on ${host}:${port}; is the port taken? Choose another one`, {
      code: 'UNAVAILABLE',
      cause,
    })
  }
}

function portOf(server: net.Server | undefined): number | undefined {
  const address = server?.address()
  return typeof address === 'object' ? address?.port : undefined
}

function refusal(message: string, returnCode: number): AuthenticateError {
  return Object.assign(new Error(message), { returnCode })
}
