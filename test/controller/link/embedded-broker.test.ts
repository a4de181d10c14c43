import { readFile } from 'node:fs/promises'
import net from 'node:net'
import { formatTopic } from '@edgefit/shared/protocol'
import {
  createDeviceToken,
  createJoinSecret,
  generateSigningKey,
  hashJoinSecret,
  type SigningKey,
} from '@edgefit/shared/trust'
import { connect, type IClientOptions, MqttClient } from 'mqtt'
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { type EmbeddedBroker, startEmbeddedBroker } from '../../../controller/link/embedded-broker.ts'
import {
  aWhile,
  certificateAuthority,
  type MemoryDirectory,
  memoryDirectory,
  silentLog,
  temporaryFolder,
  until,
} from '../../support/link.ts'

const fleet = 'lab'
const loopback = { host: '127.0.0.1', port: 0 }
let directory: MemoryDirectory
let broker: EmbeddedBroker
let nextId = 0

beforeEach(async () => {
  directory = memoryDirectory()
  broker = await startEmbeddedBroker({ fleet, tcp: loopback, directory, now: Date.now, log: silentLog })
  return () => broker.close()
})

/** Keeps its own client: what mqtt.js does on its own is switched off. */
function open(options: IClientOptions, url = `mqtt://127.0.0.1:${broker.tcpPort}`): MqttClient {
  const client = connect(url, { reconnectPeriod: 0, ...options })
  onTestFinished(() => void client.end(true))
  return client
}

async function deviceOptions(device: string, key: SigningKey): Promise<IClientOptions> {
  nextId += 1
  const token = await createDeviceToken(key, { fleet, device, id: `sign-in-${nextId}`, nowMs: Date.now() })
  return { clientId: device, username: device, password: token }
}

async function device(name: string, more: IClientOptions = {}): Promise<MqttClient> {
  const key = directory.add(name)
  return connected(open({ ...(await deviceOptions(name, key)), ...more }))
}

function controller(): Promise<MqttClient> {
  const client = new MqttClient(broker.openStream, { clientId: 'controller', reconnectPeriod: 0 })
  onTestFinished(() => void client.end(true))
  return connected(client)
}

async function connected(client: MqttClient): Promise<MqttClient> {
  await new Promise<void>((resolve, reject) => {
    client.once('connect', () => resolve())
    client.once('error', reject)
    client.once('close', () => reject(new Error('closed before it was connected')))
  })
  return client
}

function closed(client: MqttClient): Promise<void> {
  return new Promise((resolve) => client.once('close', () => resolve()))
}

function messagesOf(client: MqttClient): string[] {
  const messages: string[] = []
  client.on('message', (topic, payload) => messages.push(`${topic}: ${payload}`))
  return messages
}

const up = (name: string) => formatTopic({ kind: 'up', fleet, device: name, channel: 'presence' })
const down = (name: string) => formatTopic({ kind: 'down', fleet, device: name, channel: 'desired' })

describe('signing in', () => {
  it('is open to an accepted device with a fresh token of its key', async () => {
    await expect(device('pi-a')).resolves.toBeDefined()
  })

  it.each(['pending', 'rejected', 'decommissioned'] as const)('is closed to a %s device', async (state) => {
    const key = directory.add('pi-a', state)

    await expect(connected(open(await deviceOptions('pi-a', key)))).rejects.toMatchObject({ code: 5 })
  })

  it('is closed to an unknown device', async () => {
    const options = await deviceOptions('pi-a', generateSigningKey())

    await expect(connected(open(options))).rejects.toMatchObject({ code: 5 })
  })

  it.each<[string, (options: IClientOptions) => IClientOptions]>([
    ['nothing', () => ({ clientId: 'pi-a' })],
    ['a wrong password', (options) => ({ ...options, password: 'guess' })],
    ['the client id of another', (options) => ({ ...options, clientId: 'pi-b' })],
    ['an unknown join secret', () => ({ clientId: 'enrol:pi-a', username: 'enrol', password: createJoinSecret() })],
  ])('is closed to a client with %s', async (_, change) => {
    const key = directory.add('pi-a')
    directory.add('pi-b')

    await expect(connected(open(change(await deviceOptions('pi-a', key))))).rejects.toMatchObject({
      code: expect.toBeOneOf([4, 5]),
    })
  })

  it('is closed to a token of another key', async () => {
    directory.add('pi-a')

    await expect(connected(open(await deviceOptions('pi-a', generateSigningKey())))).rejects.toMatchObject({ code: 4 })
  })

  it('takes a token once', async () => {
    const options = await deviceOptions('pi-a', directory.add('pi-a'))
    await connected(open(options))

    await expect(connected(open(options))).rejects.toMatchObject({ code: 4 })
  })

  it('is closed to sessions that outlive their connection, which would fill memory', async () => {
    const options = await deviceOptions('pi-a', directory.add('pi-a'))

    await expect(connected(open({ ...options, clean: false }))).rejects.toThrow()
  })

  it('is closed to clients without a keepalive, which would stay for ever', async () => {
    const options = await deviceOptions('pi-a', directory.add('pi-a'))

    await expect(connected(open({ ...options, keepalive: 0 }))).rejects.toThrow()
  })

  it('gives a second connection of a device the place of the first', async () => {
    const key = directory.add('pi-a')
    const first = await connected(open(await deviceOptions('pi-a', key)))
    const gone = closed(first)

    const second = await connected(open(await deviceOptions('pi-a', key)))
    await gone

    expect(second.connected).toBe(true)
  })

  it('lets a candidate use a join secret, under a client id that disturbs no device', async () => {
    const secret = createJoinSecret()
    directory.tokenHashes.add(hashJoinSecret(secret))
    const credentials = { username: 'enrol', password: secret }
    const client = await device('pi-a')

    await expect(connected(open({ ...credentials, clientId: 'pi-a' }))).rejects.toMatchObject({ code: 4 })
    await expect(connected(open({ ...credentials, clientId: 'enrol:pi-a' }))).resolves.toBeDefined()
    expect(client.connected).toBe(true)
  })
})

describe('access', () => {
  it.each([
    ['the topics of another device', up('pi-b')],
    ['its own down topics', down('pi-a')],
    ['the presence of the controller', formatTopic({ kind: 'controller', fleet })],
  ])('is refused to a device that publishes to %s: it is cut off, nothing gets through', async (_, topic) => {
    const watcher = await controller()
    const messages = messagesOf(watcher)
    await watcher.subscribeAsync('edgefit/#')
    const client = await device('pi-a')
    const gone = closed(client)

    client.publish(topic, 'forged', { qos: 1, retain: true }, () => undefined)
    await gone
    await aWhile()

    expect(messages).toEqual([])
  })

  it('is refused to a device that subscribes to what goes to another', async () => {
    const watcher = await controller()
    const client = await device('pi-a')
    const messages = messagesOf(client)

    for (const topic of [down('pi-b'), up('pi-b'), 'edgefit/#', `edgefit/v1/${fleet}/d/+/down/desired`])
      await expect(client.subscribeAsync(topic)).rejects.toThrow()
    await client.subscribeAsync(down('pi-a'))
    await watcher.publishAsync(down('pi-b'), 'for b', { qos: 1 })
    await watcher.publishAsync(down('pi-a'), 'for a', { qos: 1 })
    await until(() => messages.length > 0, 'a hears its own')

    expect(messages).toEqual([`${down('pi-a')}: for a`])
  })

  it('is refused to a will on a topic of another', async () => {
    const watcher = await controller()
    const messages = messagesOf(watcher)
    await watcher.subscribeAsync('edgefit/#')
    const forger = await device('pi-a', {
      will: { topic: up('pi-b'), payload: Buffer.from('gone'), qos: 1, retain: true },
    })
    const honest = await device('pi-c', {
      will: { topic: up('pi-c'), payload: Buffer.from('gone'), qos: 1, retain: true },
    })

    forger.stream.destroy()
    honest.stream.destroy()
    await until(() => messages.length > 0, 'the honest will')
    await aWhile()

    expect(messages).toEqual([`${up('pi-c')}: gone`])
  })

  it('is refused to a candidate beyond its own enrolment topics', async () => {
    const secret = createJoinSecret()
    directory.tokenHashes.add(hashJoinSecret(secret))
    const client = await connected(open({ clientId: 'enrol:pi-a', username: 'enrol', password: secret }))

    await expect(client.subscribeAsync(down('pi-a'))).rejects.toThrow()
    await expect(client.subscribeAsync(`edgefit/v1/${fleet}/e/pi-b/down/enrol`)).rejects.toThrow()
    await expect(client.subscribeAsync(`edgefit/v1/${fleet}/e/pi-a/down/enrol`)).resolves.toBeDefined()
    const gone = closed(client)
    client.publish(up('pi-a'), 'too early', { qos: 1 }, () => undefined)
    await gone
  })

  it('ends when the operator takes it away', async () => {
    const client = await device('pi-a')
    const gone = closed(client)

    await broker.disconnect('pi-a')
    await gone

    await expect(broker.disconnect('pi-unknown')).resolves.toBeUndefined()
  })
})

describe('limits', () => {
  it('cut off a device that announces an oversized message, before its bytes pile up', async () => {
    const client = await device('pi-a')
    const gone = closed(client)
    const announcedBytes = Buffer.from([0x30, 0xff, 0xff, 0xff, 0x7f])

    client.stream.write(Buffer.concat([announcedBytes, Buffer.alloc(64)]))
    await gone
  })

  it('cut off a stranger whose CONNECT is longer than any good one', async () => {
    const socket = net.connect(Number(broker.tcpPort), '127.0.0.1')
    socket.on('error', () => undefined)

    socket.write(Buffer.from([0x10, 0x80, 0x80, 0x01, 0x00, 0x04]))

    await new Promise((resolve) => socket.once('close', resolve))
  })

  it.each([
    ['report', true],
    ['fetch', true],
    ['presence', false],
    ['profile', false],
  ] as const)('on what it remembers: a retained %s cuts the device off: %s', async (channel, isCutOff) => {
    const client = await device('pi-a')
    let isOver = false
    client.once('close', () => {
      isOver = true
    })

    client.publish(formatTopic({ kind: 'up', fleet, device: 'pi-a', channel }), 'x', { qos: 1, retain: true })
    await aWhile()

    expect(isOver).toBe(isCutOff)
  })

  it('let the largest legal message pass', async () => {
    const watcher = await controller()
    const sizes: number[] = []
    watcher.on('message', (_, payload) => sizes.push(payload.length))
    await watcher.subscribeAsync(up('pi-a'))
    const client = await device('pi-a')

    await client.publishAsync(up('pi-a'), Buffer.alloc(128 * 1024), { qos: 1 })
    await until(() => sizes.length > 0, 'the message arrives')

    expect(sizes).toEqual([128 * 1024])
  })
})

describe('a device that stops reading', () => {
  const chunkTopic = formatTopic({ kind: 'chunks', fleet, artifact: 'a'.repeat(64), span: 0 })
  const chunk = Buffer.alloc(64 * 1024)
  const rounds = 400 // 25 MiB, more than sockets and the limit hold

  it.each(['tcp', 'tls'] as const)('holds up nobody else over %s, and only loses chunks', async (transport) => {
    const folder = await temporaryFolder()
    const authority = await certificateAuthority(folder)
    const { certFile, keyFile } = authority.issue('broker')
    const files = { cert: await readFile(certFile, 'utf8'), key: await readFile(keyFile, 'utf8') }
    await broker.close()
    const address = transport === 'tcp' ? { tcp: loopback } : { tls: { ...loopback, ...files } }
    broker = await startEmbeddedBroker({ fleet, ...address, directory, now: Date.now, log: silentLog })
    const url = transport === 'tcp' ? `mqtt://127.0.0.1:${broker.tcpPort}` : `mqtts://127.0.0.1:${broker.tlsPort}`
    const join = async (name: string): Promise<MqttClient> =>
      connected(open({ ...(await deviceOptions(name, directory.add(name))), ca: authority.ca }, url))

    const watcher = await controller()
    const frozen = await join('pi-frozen')
    const heard: string[] = []
    frozen.on('message', (topic) => heard.push(topic))
    await frozen.subscribeAsync([chunkTopic, down('pi-frozen')])
    const other = await join('pi-other')
    const messages = messagesOf(other)
    await other.subscribeAsync(down('pi-other'), { qos: 1 })
    frozen.stream.pause()

    for (let round = 0; round < rounds; round += 1) {
      await watcher.publishAsync(chunkTopic, chunk)
      await watcher.publishAsync(down('pi-other'), `${round}`, { qos: 1 })
    }
    await until(() => messages.length === rounds, 'the other device hears all')
    await watcher.publishAsync(down('pi-frozen'), 'awake?', { qos: 1 })
    frozen.stream.resume()

    // Had a write waited for the frozen device, it would have been cut off to let the others go on.
    await until(() => heard.includes(down('pi-frozen')), 'the frozen device reads on where it stopped')
    expect(heard.length).toBeLessThan(rounds)
  })
})

describe('TLS', () => {
  it('serves those who know the CA, and only those; a renewed certificate is used at once', async () => {
    const folder = await temporaryFolder()
    const authority = await certificateAuthority(folder)
    const issue = async (name: string) => {
      const { certFile, keyFile } = authority.issue(name)
      return { cert: await readFile(certFile, 'utf8'), key: await readFile(keyFile, 'utf8') }
    }
    const secure = await startEmbeddedBroker({
      fleet,
      tls: { ...loopback, ...(await issue('old')) },
      directory,
      now: Date.now,
      log: silentLog,
    })
    onTestFinished(() => secure.close())
    const url = `mqtts://127.0.0.1:${secure.tlsPort}`
    const key = directory.add('pi-a')

    await expect(connected(open(await deviceOptions('pi-a', key), url))).rejects.toThrow(/self-signed|unable to/)
    const first = await connected(open({ ...(await deviceOptions('pi-a', key)), ca: authority.ca }, url))
    secure.renewCertificate(await issue('new'))
    const second = await connected(open({ ...(await deviceOptions('pi-a', key)), ca: authority.ca }, url))

    expect(commonName(first)).toBe('old')
    expect(commonName(second)).toBe('new')
    expect(secure.tcpPort).toBeUndefined()
  })
})

function commonName(client: MqttClient): unknown {
  const { stream } = client
  if (!('getPeerCertificate' in stream) || typeof stream.getPeerCertificate !== 'function') return undefined
  return stream.getPeerCertificate().subject.CN
}

describe('startEmbeddedBroker', () => {
  it('ends the connection of a device that left the fleet while it signed in', async () => {
    const key = directory.add('pi-leaving')
    let lookUps = 0
    const changing: typeof directory = {
      ...directory,
      async findIdentity(device) {
        const identity = await directory.findIdentity(device)
        lookUps += 1
        return identity && lookUps > 1 ? { ...identity, state: 'decommissioned' } : identity
      },
    }
    const own = await startEmbeddedBroker({ fleet, tcp: loopback, directory: changing, now: Date.now, log: silentLog })
    onTestFinished(() => own.close())

    const client = open(await deviceOptions('pi-leaving', key), `mqtt://127.0.0.1:${own.tcpPort}`)

    await closed(client)
    expect(lookUps).toBe(2)
  })

  it('refuses a certificate that does not go with its key', async () => {
    const authority = await certificateAuthority(await temporaryFolder())
    const [one, other] = [authority.issue('one'), authority.issue('other')]
    const files = { cert: await readFile(one.certFile, 'utf8'), key: await readFile(other.keyFile, 'utf8') }

    await expect(
      startEmbeddedBroker({ fleet, tls: { ...loopback, ...files }, directory, now: Date.now, log: silentLog }),
    ).rejects.toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringContaining('belong together') })
  })

  it('names the port that is taken', async () => {
    const taken = { host: '127.0.0.1', port: Number(broker.tcpPort) }

    await expect(
      startEmbeddedBroker({ fleet, tcp: taken, directory, now: Date.now, log: silentLog }),
    ).rejects.toMatchObject({ code: 'UNAVAILABLE', message: expect.stringContaining(`127.0.0.1:${taken.port}`) })
  })
})
