import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import events from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type ArtifactStore, openArtifactStore } from '@edgefit/shared/artifact'
import { createDeviceToken, generateSigningKey, type SigningKey } from '@edgefit/shared/trust'
import { pino } from 'pino'
import { type BrokerConnection, openConnection } from '../../agent/link/broker-connection.ts'
import { createChunkInbox } from '../../agent/link/chunk-inbox.ts'
import type { ChunkChannel } from '../../agent/link/download-channel.ts'
import type { BrokerAddress } from '../../controller/link/broker-client.ts'
import {
  type ChunkServer,
  type ChunkServerEvent,
  type ChunkServerLimits,
  createChunkServer,
} from '../../controller/link/chunk-server.ts'
import { type EmbeddedBroker, startEmbeddedBroker } from '../../controller/link/embedded-broker.ts'
import { createMqttLink, type MqttLink } from '../../controller/link/mqtt-link.ts'

export const FLEET = 'test'
const log = pino({ level: 'silent' })

/** One key for all devices of a scene: who they are is not what it tests. */
export const DEVICE_KEY: SigningKey = generateSigningKey()
const directory = {
  findIdentity: () => Promise.resolve({ state: 'accepted' as const, publicKey: DEVICE_KEY.publicKey }),
  admitToken: () => Promise.resolve(false),
}

export function startSceneBroker(port = 0): Promise<EmbeddedBroker> {
  return startEmbeddedBroker({ fleet: FLEET, tcp: { host: '127.0.0.1', port }, directory, now: Date.now, log })
}

/** A controller as far as transfer goes: its link, its store and its chunk server. */
export interface SceneController {
  readonly link: MqttLink
  readonly store: ArtifactStore
  readonly server: ChunkServer
  readonly unserved: readonly ChunkServerEvent[]
  stop(): Promise<void>
}

export async function startSceneController(
  broker: BrokerAddress,
  options: {
    readonly limits?: Partial<ChunkServerLimits>
    /** Sees, and may change, every frame on its way to the broker. */
    readonly tap?: (topic: string, payload: Uint8Array) => Uint8Array
  } = {},
): Promise<SceneController> {
  const root = await mkdtemp(join(tmpdir(), 'edgefit-controller-'))
  const store = await openArtifactStore(root)
  const unserved: ChunkServerEvent[] = []
  const nothing = () => Promise.resolve()
  const connected = withResolvers<void>()
  const link = createMqttLink({
    fleet: FLEET,
    key: generateSigningKey(),
    broker,
    directory,
    handlers: {
      onPresence: nothing,
      onProfile: nothing,
      onReports: () => Promise.resolve([]),
      onFetch: (device, request) => server.handle(device, request),
      onEnrol: () => Promise.resolve(undefined),
      onConnection: (isUp) => isUp && connected.resolve(),
    },
    now: Date.now,
    log,
  })
  const tap = options.tap ?? ((_, payload) => payload)
  const server = createChunkServer({
    fleet: FLEET,
    store,
    publisher: { publish: (topic, payload) => link.publishChunk(topic, tap(topic, payload)) },
    now: () => performance.now(),
    onEvent: (event) => unserved.push(event),
    ...(options.limits && { limits: options.limits }),
  })
  link.start()
  await connected.promise
  return {
    link,
    store,
    server,
    unserved,
    async stop() {
      await server.close()
      await link.stop()
      await rm(root, { recursive: true, force: true })
    },
  }
}

/** A device as far as transfer goes: a connection that comes back, a chunk channel and a store. */
export interface SceneDevice {
  readonly name: string
  readonly channel: ChunkChannel
  readonly store: ArtifactStore
  readonly frames: () => number
  /** The connection that is up now. */
  connection(): Promise<BrokerConnection>
  stop(): Promise<void>
}

export async function startSceneDevice(
  name: string,
  url: string,
  options: {
    readonly root?: string
    /** `undefined` for a broker that lets everybody in. */
    readonly key?: SigningKey | undefined
    readonly onMessage?: (topic: string) => void
  } = { key: DEVICE_KEY },
): Promise<SceneDevice> {
  const root = options.root ?? (await mkdtemp(join(tmpdir(), 'edgefit-device-')))
  const stop = new AbortController()
  const inbox = createChunkInbox({ fleet: FLEET, deviceId: name })
  let frames = 0
  let up = withResolvers<BrokerConnection>()

  const running = keepConnected()
  async function keepConnected(): Promise<void> {
    while (!stop.signal.aborted) {
      const connection = await openConnection(
        { url, clientId: name, ...(await credentials()) },
        receive,
        stop.signal,
      ).catch(() => undefined)
      if (connection !== undefined) {
        inbox.opened(connection)
        up.resolve(connection)
        await Promise.race([connection.ended, once(stop.signal)])
        up = withResolvers()
        inbox.closed()
        if (stop.signal.aborted) await connection.close()
      }
      await sleep(50, undefined, { signal: stop.signal }).catch(() => undefined)
    }
  }
  function receive(topic: string, payload: Uint8Array): void {
    if (inbox.receive(topic, payload)) frames++
    else options.onMessage?.(topic)
  }
  function credentials() {
    return options.key === undefined ? {} : deviceCredentials(name, options.key)
  }

  await up.promise
  return {
    name,
    channel: inbox.channel,
    store: await openArtifactStore(root),
    frames: () => frames,
    connection: () => up.promise,
    async stop() {
      stop.abort()
      await running
      if (options.root === undefined) await rm(root, { recursive: true, force: true })
    },
  }
}

export async function deviceCredentials(device: string, key = DEVICE_KEY) {
  const subject = { fleet: FLEET, device, id: randomUUID(), nowMs: Date.now() }
  return { username: device, password: await createDeviceToken(key, subject) }
}

/** Starts a Mosquitto that lets everybody do everything, on a free port; `undefined` where there is none. */
export async function startMosquitto(): Promise<{ readonly url: string; stop(): Promise<void> } | undefined> {
  const program = ['/usr/sbin/mosquitto', '/usr/local/sbin/mosquitto', '/opt/homebrew/sbin/mosquitto'].find(existsSync)
  if (program === undefined) return undefined
  const folder = await mkdtemp(join(tmpdir(), 'edgefit-mosquitto-'))
  const port = await freePort()
  await writeFile(join(folder, 'broker.conf'), `listener ${port} 127.0.0.1\nallow_anonymous true\npersistence false\n`)
  const child = spawn(program, ['-c', join(folder, 'broker.conf')], { stdio: 'ignore' })
  const ended = new Promise((resolve) => child.once('exit', resolve))
  await untilListening(port)
  return {
    url: `mqtt://127.0.0.1:${port}`,
    async stop() {
      child.kill('SIGKILL')
      await ended
      await rm(folder, { recursive: true, force: true })
    },
  }
}

async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1')
  await events.once(server, 'listening')
  const { port } = server.address() as net.AddressInfo
  await new Promise((closed) => server.close(closed))
  return port
}

async function untilListening(port: number): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    const socket = net.connect(port, '127.0.0.1')
    const isUp = await events.once(socket, 'connect').then(
      () => true,
      () => false,
    )
    socket.destroy()
    if (isUp) return
    await sleep(25)
  }
  throw new Error(`nothing listens on port ${port}`)
}

function withResolvers<Value>() {
  let resolve: (value: Value) => void = () => undefined
  const promise = new Promise<Value>((done) => {
    resolve = done
  })
  return { promise, resolve }
}

function once(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
}

/** Bytes that repeat nowhere, the same for the same seed. */
export function noise(sizeBytes: number, seed: number): Buffer {
  const words = new Uint32Array(Math.ceil(sizeBytes / 4))
  let state = seed >>> 0 || 1
  for (let i = 0; i < words.length; i++) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    words[i] = state
  }
  return Buffer.from(words.buffer, 0, sizeBytes)
}
