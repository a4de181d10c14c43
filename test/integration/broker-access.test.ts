import { DOWN_CHANNELS, formatTopic, UP_CHANNELS } from '@edgefit/shared/protocol'
import { createDeviceToken, createJoinSecret, hashJoinSecret } from '@edgefit/shared/trust'
import { connect, type IClientOptions, MqttClient } from 'mqtt'
import { describe, expect, it, onTestFinished } from 'vitest'
import { startEmbeddedBroker } from '../../controller/link/embedded-broker.ts'
import { aWhile, memoryDirectory, silentLog, temporaryFolder, until } from '../support/link.ts'
import { CONTROLLER_USER, hasMosquitto, startSecureMosquitto } from '../support/mosquitto.ts'

const fleet = 'lab'
const artifact = 'a'.repeat(64)
const up = (device: string, channel: (typeof UP_CHANNELS)[number]) =>
  formatTopic({ kind: 'up', fleet, device, channel })
const down = (device: string, channel: (typeof DOWN_CHANNELS)[number]) =>
  formatTopic({ kind: 'down', fleet, device, channel })
const chunks = (device?: string) =>
  formatTopic({ kind: 'chunks', fleet, artifact, span: 3, ...(device === undefined ? {} : { device }) })
const enrol = (device: string, direction: 'enrol-up' | 'enrol-down') => formatTopic({ kind: direction, fleet, device })
const controller = formatTopic({ kind: 'controller', fleet })

const MAY_PUBLISH = UP_CHANNELS.map((channel) => up('pi-a', channel))
const MAY_NOT_PUBLISH = [
  ...DOWN_CHANNELS.map((channel) => down('pi-a', channel)),
  ...UP_CHANNELS.map((channel) => up('pi-b', channel)),
  ...DOWN_CHANNELS.map((channel) => down('pi-b', channel)),
  chunks(),
  chunks('pi-a'),
  controller,
  enrol('pi-a', 'enrol-up'),
  enrol('pi-a', 'enrol-down'),
  'somewhere/else',
]
const MAY_READ = [
  ...DOWN_CHANNELS.map((channel) => down('pi-a', channel)),
  up('pi-a', 'presence'),
  chunks(),
  chunks('pi-a'),
  controller,
]
/** A filter, and a topic it covers that must not be delivered. */
const MAY_NOT_READ: readonly (readonly [filter: string, topic: string])[] = [
  ...DOWN_CHANNELS.map((channel) => [down('pi-b', channel), down('pi-b', channel)] as const),
  ...UP_CHANNELS.map((channel) => [up('pi-b', channel), up('pi-b', channel)] as const),
  [chunks('pi-b'), chunks('pi-b')],
  [enrol('pi-a', 'enrol-down'), enrol('pi-a', 'enrol-down')],
  ['#', down('pi-b', 'desired')],
  ['edgefit/v1/+/d/+/down/desired', down('pi-b', 'desired')],
  [`edgefit/v1/${fleet}/d/pi-b/#`, down('pi-b', 'ack')],
  [`edgefit/v1/${fleet}/c/+/+/+`, chunks('pi-b')],
]

interface Broker {
  /** May do everything. */
  admin(): MqttClient
  device(): Promise<MqttClient>
  candidate(device: string): MqttClient
}

const secret = createJoinSecret()
const fixed: IClientOptions = { reconnectPeriod: 0, resubscribe: false }

async function embedded(): Promise<Broker> {
  const directory = memoryDirectory()
  directory.tokenHashes.add(hashJoinSecret(secret))
  const key = directory.add('pi-a')
  const tcp = { host: '127.0.0.1', port: 0 }
  const broker = await startEmbeddedBroker({ fleet, tcp, directory, now: Date.now, log: silentLog })
  onTestFinished(() => broker.close())
  const url = `mqtt://127.0.0.1:${broker.tcpPort}`
  let signIns = 0
  return {
    admin: () => new MqttClient(broker.openStream, { ...fixed }),
    async device() {
      signIns += 1
      const token = { fleet, device: 'pi-a', id: `sign-in-${signIns}`, nowMs: Date.now() }
      return connect(url, {
        ...fixed,
        clientId: 'pi-a',
        username: 'pi-a',
        password: await createDeviceToken(key, token),
      })
    },
    candidate: (device) => connect(url, { ...fixed, clientId: `enrol:${device}`, username: 'enrol', password: secret }),
  }
}

async function mosquitto(): Promise<Broker> {
  const folder = await temporaryFolder()
  const { url, authority, setPassword } = await startSecureMosquitto(folder)
  await setPassword('pi-a', 'device-password')
  await setPassword('enrol', secret)
  const secure = { ...fixed, ca: authority.ca }
  return {
    admin: () => connect(url, { ...secure, ...CONTROLLER_USER }),
    device: () =>
      Promise.resolve(connect(url, { ...secure, clientId: 'pi-a', username: 'pi-a', password: 'device-password' })),
    candidate: (device) =>
      connect(url, { ...secure, clientId: `enrol:${device}`, username: 'enrol', password: secret }),
  }
}

async function connected(client: MqttClient): Promise<MqttClient> {
  onTestFinished(() => void client.end(true))
  if (!client.connected) await new Promise((resolve) => client.once('connect', resolve))
  return client
}

/** Publishes on each topic over a connection of its own; gives back the topics that got through. */
async function publishable(
  broker: Broker,
  open: () => Promise<MqttClient>,
  topics: readonly string[],
): Promise<string[]> {
  const admin = await connected(broker.admin())
  const heard: string[] = []
  admin.on('message', (topic, payload) => heard.push(`${topic} ${payload}`))
  await admin.subscribeAsync(['edgefit/v1/#', 'somewhere/#'], { qos: 1 })
  for (const [index, topic] of topics.entries()) {
    const client = await connected(await open())
    const answer = new Promise<void>((resolve) => {
      client.publish(topic, 'attempt', { qos: 1 }, () => resolve())
      client.once('close', () => resolve())
    })
    await answer
    client.end(true)
    // Whatever got through has done so before this.
    await admin.publishAsync('edgefit/v1/after', `${index}`, { qos: 1 })
    await until(() => heard.includes(`edgefit/v1/after ${index}`), 'the attempt is over')
    await aWhile()
  }
  return topics.filter((topic) => heard.includes(`${topic} attempt`))
}

/** Subscribes to each filter; gives back the topics that were delivered. */
async function readable(
  broker: Broker,
  open: () => Promise<MqttClient>,
  cases: readonly (readonly [filter: string, topic: string])[],
  sentinel: string,
): Promise<string[]> {
  const admin = await connected(broker.admin())
  const delivered: string[] = []
  for (const [filter, topic] of cases) {
    const client = await connected(await open())
    const heard: string[] = []
    client.on('message', (on, payload) => heard.push(`${on} ${payload}`))
    await client.subscribeAsync(sentinel, { qos: 1 })
    await client.subscribeAsync(filter, { qos: 1 }).catch(() => undefined)
    await admin.publishAsync(topic, 'probe', { qos: 1 })
    await admin.publishAsync(sentinel, 'end', { qos: 1 })
    await until(() => heard.includes(`${sentinel} end`), 'the end of the attempt')
    if (heard.includes(`${topic} probe`)) delivered.push(topic)
    client.end(true)
  }
  return delivered
}

describe.each([
  ['the embedded broker', embedded, true],
  ['Mosquitto with the shipped access list', mosquitto, hasMosquitto],
] as const)('%s', (_, open, isInstalled) => {
  it.runIf(isInstalled)('lets a device publish under its own "up" and nowhere else', async () => {
    const broker = await open()

    const through = await publishable(broker, broker.device, [...MAY_PUBLISH, ...MAY_NOT_PUBLISH])

    expect(through).toEqual(MAY_PUBLISH)
  })

  it.runIf(isInstalled)('lets a device read what is meant for it and nothing else', async () => {
    const broker = await open()
    const allowed = MAY_READ.map((topic) => [topic, topic] as const)

    const delivered = await readable(broker, broker.device, [...allowed, ...MAY_NOT_READ], down('pi-a', 'ack'))

    expect(delivered).toEqual(MAY_READ)
  })

  it.runIf(isInstalled)('lets a candidate use the enrolment topics and no others', async () => {
    const broker = await open()
    const candidate = () => Promise.resolve(broker.candidate('pi-new'))
    const own = enrol('pi-new', 'enrol-down')

    const through = await publishable(broker, candidate, [
      enrol('pi-new', 'enrol-up'),
      own,
      up('pi-new', 'presence'),
      up('pi-a', 'presence'),
      down('pi-a', 'desired'),
      controller,
    ])
    const delivered = await readable(
      broker,
      candidate,
      [
        [own, own],
        [enrol('pi-new', 'enrol-up'), enrol('pi-new', 'enrol-up')],
        [down('pi-a', 'desired'), down('pi-a', 'desired')],
        [up('pi-a', 'report'), up('pi-a', 'report')],
        ['#', up('pi-a', 'report')],
      ],
      own,
    )

    expect(through).toEqual([enrol('pi-new', 'enrol-up')])
    expect(delivered).toEqual([own])
  })
})
