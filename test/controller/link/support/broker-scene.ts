import { randomUUID } from 'node:crypto'
import { formatTopic } from '@edgefit/shared/protocol'
import { createDeviceToken, type SigningKey } from '@edgefit/shared/trust'
import { connect, type IClientOptions, MqttClient } from 'mqtt'
import { onTestFinished } from 'vitest'
import { type EmbeddedBroker, startEmbeddedBroker } from '../../../../controller/link/embedded-broker.ts'
import { type MemoryDirectory, memoryDirectory, silentLog } from '../../../support/link.ts'

export const fleet = 'lab'
export const loopback = { host: '127.0.0.1', port: 0 }

export interface BrokerScene {
  readonly broker: EmbeddedBroker
  readonly directory: MemoryDirectory
  /** A client that does nothing on its own: what mqtt.js does so is switched off. */
  open(options: IClientOptions): MqttClient
  /** An accepted device that has signed in. */
  device(name: string, more?: IClientOptions): Promise<MqttClient>
  /** The controller's own client, which may do everything. */
  controller(): Promise<MqttClient>
}

/** A broker until the test ends, over TLS where it is given a certificate. */
export async function startBrokerScene(
  options: {
    readonly directory?: MemoryDirectory
    readonly certificate?: { readonly cert: string; readonly key: string }
  } = {},
): Promise<BrokerScene> {
  const { directory = memoryDirectory(), certificate } = options
  const address = certificate === undefined ? { tcp: loopback } : { tls: { ...loopback, ...certificate } }
  const broker = await startEmbeddedBroker({ fleet, ...address, directory, now: Date.now, log: silentLog })
  onTestFinished(() => broker.close())
  const url = certificate === undefined ? `mqtt://127.0.0.1:${broker.tcpPort}` : `mqtts://127.0.0.1:${broker.tlsPort}`

  function untilTestEnds(client: MqttClient): MqttClient {
    onTestFinished(() => void client.end(true))
    return client
  }
  const open = (more: IClientOptions) => untilTestEnds(connect(url, { reconnectPeriod: 0, ...more }))
  return {
    broker,
    directory,
    open,
    async device(name, more = {}) {
      return connected(open({ ...(await deviceOptions(name, directory.add(name))), ...more }))
    },
    controller: () =>
      connected(untilTestEnds(new MqttClient(broker.openStream, { clientId: 'controller', reconnectPeriod: 0 }))),
  }
}

/** What a device signs in with: a fresh token. */
export async function deviceOptions(device: string, key: SigningKey): Promise<IClientOptions> {
  const token = await createDeviceToken(key, { fleet, device, id: randomUUID(), nowMs: Date.now() })
  return { clientId: device, username: device, password: token }
}

/** Fails where the client is refused. */
export async function connected(client: MqttClient): Promise<MqttClient> {
  await new Promise<void>((resolve, reject) => {
    client.once('connect', () => resolve())
    client.once('error', reject)
    client.once('close', () => reject(new Error('closed before it was connected')))
  })
  return client
}

export function closed(client: MqttClient): Promise<void> {
  return new Promise((resolve) => client.once('close', () => resolve()))
}

/** What the client hears from now on. */
export function messagesOf(client: MqttClient): string[] {
  const messages: string[] = []
  client.on('message', (topic, payload) => messages.push(`${topic}: ${payload}`))
  return messages
}

export const up = (name: string) => formatTopic({ kind: 'up', fleet, device: name, channel: 'presence' })
export const down = (name: string) => formatTopic({ kind: 'down', fleet, device: name, channel: 'desired' })
