import { randomUUID } from 'node:crypto'
import { EdgefitError, isEdgefitError } from '@edgefit/shared'
import {
  assertMessageSize,
  type ControllerPresence,
  controllerSubscriptions,
  type DesiredState,
  encodeDocument,
  formatTopic,
  PROTOCOL_VERSION,
  parseTopic,
} from '@edgefit/shared/protocol'
import { type SigningKey, signDocument } from '@edgefit/shared/trust'
import type { MqttClient } from 'mqtt'
import type { Logger } from 'pino'
import { type BrokerAddress, openClient } from './broker-client.ts'
import { createIncoming } from './incoming.ts'
import type { DeviceDirectory, LinkHandlers } from './ports.ts'

export interface MqttLinkOptions {
  readonly fleet: string
  readonly key: SigningKey
  readonly broker: BrokerAddress
  readonly directory: Pick<DeviceDirectory, 'findIdentity'>
  readonly handlers: LinkHandlers
  readonly now: () => number
  readonly log: Logger
}

/**
 * The controller's end of the link, over any broker. Publishing resolves when the broker has the message and rejects
 * with UNAVAILABLE without a connection. Nothing has to be kept for later: after every reconnect the controller asks
 * the devices to announce themselves, and each birth is answered.
 */
export interface MqttLink {
  readonly connected: boolean
  /** Connects, and keeps connecting again, until stopped. */
  start(): void
  stop(): Promise<void>
  /** Signs and publishes a device's goal, retained. */
  publishDesired(state: DesiredState): Promise<void>
  publishEnrolReply(device: string, reply: string): Promise<void>
  /** QoS 0. Resolves when the connection can take more. */
  publishChunk(topic: string, chunk: Uint8Array): Promise<void>
  /** Removes what the broker remembers of a device that has left the fleet. */
  forget(device: string): Promise<void>
}

const STOP_TIMEOUT_MS = 2_000

export function createMqttLink(options: MqttLinkOptions): MqttLink {
  const { fleet, key, broker, handlers, now, log } = options
  const presenceTopic = formatTopic({ kind: 'controller', fleet })
  const incoming = createIncoming({ ...options, publishAck, publishEnrolReply })
  let session = ''
  let control: MqttClient | undefined
  /** Chunks have a connection of their own, so that no acknowledgement waits behind them. */
  let bulk: MqttClient | undefined

  function presence(online: boolean): Uint8Array {
    const document: ControllerPresence = { v: PROTOCOL_VERSION, online, session, atMs: now() }
    return encodeDocument('controller', document)
  }

  /** A will is sent with CONNECT, and belongs to one connection: each has a session of its own. */
  function newWill() {
    session = randomUUID()
    return { topic: presenceTopic, payload: Buffer.from(presence(false)), qos: 1, retain: true } as const
  }

  async function onConnect(client: MqttClient): Promise<void> {
    const { stream } = client
    try {
      await client.subscribeAsync([...controllerSubscriptions(fleet)], { qos: 1 })
      // Only now: whoever announces itself because of this presence is heard.
      await publish(presenceTopic, presence(true), { retain: true })
      log.info('connected to the broker')
      handlers.onConnection(true)
    } catch (error) {
      log.warn({ err: error }, 'the broker refuses what the controller needs; trying again')
      stream.destroy()
    }
  }

  async function publish(topic: string, payload: Uint8Array, { retain = false } = {}): Promise<void> {
    assertMessageSize(topic, payload.length)
    await send(control, (client) => client.publishAsync(topic, Buffer.from(payload), { qos: 1, retain }))
  }

  async function publishAck(device: string, journal: string, seqs: readonly number[]): Promise<void> {
    const topic = formatTopic({ kind: 'down', fleet, device, channel: 'ack' })
    await publish(topic, encodeDocument('ack', { v: PROTOCOL_VERSION, journal, seqs: [...seqs] }))
  }

  async function publishEnrolReply(device: string, reply: string): Promise<void> {
    await publish(formatTopic({ kind: 'enrol-down', fleet, device }), Buffer.from(reply))
  }

  return {
    get connected() {
      return control?.connected ?? false
    },
    start() {
      const client = openClient(broker, { clientId: `edgefit-controller-${fleet}`, will: newWill() })
      control = client
      bulk = openClient(broker, { clientId: `edgefit-controller-${fleet}-chunks` })
      for (const each of [control, bulk]) sayOnce(each, log)
      client.on('connect', () => void onConnect(client))
      client.on('offline', () => handlers.onConnection(false))
      client.on('reconnect', () => {
        client.options.will = newWill()
      })
      client.on('message', (topicText, payload, { retain }) => {
        const topic = parseTopic(topicText)
        // An empty message is a retained one that was removed.
        if (topic?.fleet === fleet && payload.length > 0) incoming.receive(topic, payload, retain)
      })
    },
    async stop() {
      await atMost(STOP_TIMEOUT_MS, incoming.drain())
      if (control?.connected) await atMost(STOP_TIMEOUT_MS, publish(presenceTopic, presence(false), { retain: true }))
      await Promise.all([control, bulk].map((client) => client && end(client)))
    },
    async publishDesired(state) {
      const topic = formatTopic({ kind: 'down', fleet, device: state.device, channel: 'desired' })
      const jws = await signDocument(key, 'desired', encodeDocument('desired', state))
      await publish(topic, Buffer.from(jws), { retain: true })
    },
    publishEnrolReply,
    publishChunk: (topic, chunk) =>
      send(bulk, (client) => client.publishAsync(topic, Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length))),
    async forget(device) {
      const nothing = new Uint8Array()
      await publish(formatTopic({ kind: 'up', fleet, device, channel: 'presence' }), nothing, { retain: true })
      await publish(formatTopic({ kind: 'up', fleet, device, channel: 'profile' }), nothing, { retain: true })
      await publish(formatTopic({ kind: 'down', fleet, device, channel: 'desired' }), nothing, { retain: true })
    },
  }
}

/** A broker may be away for days, and is tried every second: only the first failure of a row is worth a warning. */
function sayOnce(client: MqttClient, log: Logger): void {
  let level: 'warn' | 'debug' = 'warn'
  client.on('error', (error) => {
    log[level]({ err: error }, 'connection to the broker failed; trying again')
    level = 'debug'
  })
  client.on('connect', () => {
    level = 'warn'
  })
}

/** In order where there is a connection, so that the broker drops the will. */
async function end(client: MqttClient): Promise<void> {
  if (client.connected) await atMost(STOP_TIMEOUT_MS, client.endAsync())
  else client.end(true)
  client.stream.destroy()
}

/** Whatever comes of it. */
async function atMost(timeoutMs: number, action: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const timeout = new Promise((resolve) => {
    timer = setTimeout(resolve, timeoutMs)
  })
  await Promise.race([action.catch(() => undefined), timeout])
  clearTimeout(timer)
}

async function send(client: MqttClient | undefined, act: (client: MqttClient) => Promise<unknown>): Promise<void> {
  // Checked first: what a client accepts while offline it keeps in memory without bound.
  if (!client?.connected) throw new EdgefitError('the broker cannot be reached', { code: 'UNAVAILABLE' })
  try {
    await act(client)
  } catch (cause) {
    if (isEdgefitError(cause)) throw cause
    throw new EdgefitError('the connection to the broker was lost', { code: 'UNAVAILABLE', cause })
  }
}
