import { setImmediate as turn } from 'node:timers/promises'
import { decodeDocument, encodeDocument, formatTopic, type Presence, type UpChannel } from '@edgefit/shared/protocol'
import { generateSigningKey, type SigningKey, signDocument, verifyDocument } from '@edgefit/shared/trust'
import { MqttClient } from 'mqtt'
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import type { BrokerAddress } from '../../../controller/link/broker-client.ts'
import { type EmbeddedBroker, startEmbeddedBroker } from '../../../controller/link/embedded-broker.ts'
import { createMqttLink, type MqttLink } from '../../../controller/link/mqtt-link.ts'
import type { LinkHandlers } from '../../../controller/link/ports.ts'
import { aWhile, type MemoryDirectory, memoryDirectory, silentLog, until } from '../../support/link.ts'

const fleet = 'lab'
const controllerKey = generateSigningKey()
const controllerTopic = formatTopic({ kind: 'controller', fleet })
const upTopic = (channel: UpChannel, device = 'pi-a') => formatTopic({ kind: 'up', fleet, device, channel })
const ackTopic = formatTopic({ kind: 'down', fleet, device: 'pi-a', channel: 'ack' })
const desiredTopic = formatTopic({ kind: 'down', fleet, device: 'pi-a', channel: 'desired' })
const birth: Presence = { v: 1, online: true, session: 'session-1', atMs: 0, agentVersion: '0.1.0', labels: {} }
const notice = (seq: number) => ({ seq, atMs: 0, body: { kind: 'notice', code: 'x', message: 'y' } as const })

let directory: MemoryDirectory
let key: SigningKey
let broker: EmbeddedBroker

beforeEach(async () => {
  directory = memoryDirectory()
  key = directory.add('pi-a')
  broker = await startBroker()
  return () => broker.close()
})

function startBroker(): Promise<EmbeddedBroker> {
  return startEmbeddedBroker({
    fleet,
    tcp: { host: '127.0.0.1', port: 0 },
    directory,
    now: Date.now,
    log: silentLog,
  })
}

/** May touch every topic, so it plays the devices and watches the controller. */
async function anyone(): Promise<MqttClient> {
  const client = new MqttClient(broker.openStream, { clientId: 'anyone', reconnectPeriod: 0 })
  onTestFinished(() => void client.end(true))
  await new Promise((resolve) => client.once('connect', resolve))
  return client
}

function recordingHandlers(over: Partial<LinkHandlers> = {}): LinkHandlers & { readonly calls: unknown[][] } {
  const calls: unknown[][] = []
  return {
    calls,
    onPresence: (...args) => Promise.resolve(void calls.push(['presence', ...args])),
    onProfile: (...args) => Promise.resolve(void calls.push(['profile', ...args])),
    onReports: (device, batch) => {
      const seqs = batch.reports.map(({ seq }) => seq)
      calls.push(['reports', device, seqs])
      return Promise.resolve(seqs)
    },
    onFetch: (...args) => void calls.push(['fetch', ...args]),
    onEnrol: (...args) => {
      calls.push(['enrol', ...args])
      return Promise.resolve('the reply')
    },
    onConnection: () => undefined,
    ...over,
  }
}

async function start(handlers: LinkHandlers, address?: BrokerAddress): Promise<MqttLink> {
  const link = createMqttLink({
    fleet,
    key: controllerKey,
    // A new broker may take the place of the old one.
    broker: address ?? { kind: 'embedded', openStream: () => broker.openStream() },
    directory,
    handlers: {
      ...handlers,
      onConnection(up) {
        connected = up
        handlers.onConnection(up)
      },
    },
    now: Date.now,
    log: silentLog,
  })
  let connected = false
  onTestFinished(() => link.stop())
  link.start()
  await until(() => connected, 'the link is up')
  return link
}

async function reports(seqs: readonly number[], by = key): Promise<string> {
  const batch = { v: 1, session: 'session-1', journal: 'journal-1', reports: seqs.map(notice) }
  return await signDocument(by, 'reports', encodeDocument('reports', batch))
}

function acksOf(client: MqttClient): number[][] {
  const acks: number[][] = []
  client.on('message', (topic, payload) => {
    if (topic === ackTopic) acks.push(decodeDocument('ack', payload).seqs)
  })
  return acks
}

describe('the link hands on what devices say', () => {
  it('births, one after the other, as news', async () => {
    const handlers = recordingHandlers()
    await start(handlers)
    const client = await anyone()

    await client.publishAsync(upTopic('presence'), Buffer.from(encodeDocument('presence', birth)), {
      qos: 1,
      retain: true,
    })
    await until(() => handlers.calls.length > 0, 'the birth')

    expect(handlers.calls).toEqual([['presence', 'pi-a', birth, false]])
  })

  it('births from before its start, as the memory of the broker', async () => {
    const handlers = recordingHandlers()
    const client = await anyone()
    await client.publishAsync(upTopic('presence'), Buffer.from(encodeDocument('presence', birth)), {
      qos: 1,
      retain: true,
    })

    await start(handlers)
    await until(() => handlers.calls.length > 0, 'the birth')

    expect(handlers.calls).toEqual([['presence', 'pi-a', birth, true]])
  })

  it('fetch requests and enrolments, whose reply it publishes', async () => {
    const handlers = recordingHandlers()
    await start(handlers)
    const client = await anyone()
    const replies: string[] = []
    client.on('message', (topic, payload) => replies.push(`${topic} ${payload}`))
    await client.subscribeAsync(`edgefit/v1/${fleet}/e/pi-new/down/enrol`)
    const request = { v: 1, artifact: 'a'.repeat(64), span: 2, bitmap: '/w==', private: false }

    await client.publishAsync(upTopic('fetch'), JSON.stringify(request), { qos: 1 })
    await client.publishAsync(`edgefit/v1/${fleet}/e/pi-new/up/enrol`, 'a request', { qos: 1 })
    await until(() => replies.length > 0, 'the reply')

    expect(handlers.calls).toEqual([
      ['fetch', 'pi-a', request],
      ['enrol', 'pi-new', 'a request'],
    ])
    expect(replies).toEqual([`edgefit/v1/${fleet}/e/pi-new/down/enrol the reply`])
  })

  it('but survives, and drops, what it cannot read', async () => {
    const handlers = recordingHandlers()
    await start(handlers)
    const client = await anyone()

    for (const channel of ['presence', 'profile', 'report', 'fetch'] as const)
      for (const payload of ['', 'no JSON', '{"v":2}', '[]', Buffer.alloc(128 * 1024, 0xff)])
        await client.publishAsync(upTopic(channel), payload, { qos: 1 })
    await client.publishAsync(upTopic('presence'), Buffer.from(encodeDocument('presence', birth)), { qos: 1 })
    await until(() => handlers.calls.length > 0, 'the good message after the bad ones')

    expect(handlers.calls).toEqual([['presence', 'pi-a', birth, false]])
  })

  it('and goes on after a handler has failed', async () => {
    let calls = 0
    await start(
      recordingHandlers({
        onPresence: () => {
          calls += 1
          return Promise.reject(new Error('no database'))
        },
      }),
    )
    const client = await anyone()

    for (let round = 0; round < 3; round += 1)
      await client.publishAsync(upTopic('presence'), Buffer.from(encodeDocument('presence', birth)), { qos: 1 })

    await until(() => calls === 3, 'every message reaches the handler')
  })
})

describe('reports', () => {
  it('are acknowledged once they are committed, not before', async () => {
    let commit = (): void => undefined
    const committed = new Promise<readonly number[]>((resolve) => {
      commit = () => resolve([1, 2])
    })
    let asked = false
    await start(
      recordingHandlers({
        onReports: () => {
          asked = true
          return committed
        },
      }),
    )
    const client = await anyone()
    const acks = acksOf(client)
    await client.subscribeAsync(ackTopic)

    await client.publishAsync(upTopic('report'), await reports([1, 2]), { qos: 1 })
    await until(() => asked, 'the reports arrive')
    await aWhile()
    expect(acks).toEqual([])
    commit()
    await until(() => acks.length > 0, 'the acknowledgement')

    expect(acks).toEqual([[1, 2]])
  })

  it('are not acknowledged when storing them fails, and are the next time', async () => {
    let tries = 0
    await start(
      recordingHandlers({
        onReports: (_, batch) => {
          tries += 1
          const seqs = batch.reports.map(({ seq }) => seq)
          return tries === 1 ? Promise.reject(new Error('disk full')) : Promise.resolve(seqs)
        },
      }),
    )
    const client = await anyone()
    const acks = acksOf(client)
    await client.subscribeAsync(ackTopic)

    await client.publishAsync(upTopic('report'), await reports([1]), { qos: 1 })
    await until(() => tries === 1, 'the first try')
    await client.publishAsync(upTopic('report'), await reports([1]), { qos: 1 })
    await until(() => acks.length > 0, 'the acknowledgement')

    expect(acks).toEqual([[1]])
  })

  it('that this version cannot read are acknowledged, as sending them again would not help', async () => {
    const handlers = recordingHandlers()
    await start(handlers)
    const client = await anyone()
    const acks = acksOf(client)
    await client.subscribeAsync(ackTopic)
    const odd = { seq: 8, atMs: 0, body: { kind: 'telepathy' } }
    const batch = Buffer.from(
      JSON.stringify({ v: 1, session: 'session-1', journal: 'journal-1', reports: [notice(7), odd] }),
    )

    await client.publishAsync(upTopic('report'), await signDocument(key, 'reports', batch), { qos: 1 })
    await until(() => acks.length > 0, 'the acknowledgement')

    expect(handlers.calls).toEqual([['reports', 'pi-a', [7]]])
    expect(acks).toEqual([[7, 8]])
  })

  it.each([
    ['another key', 'pi-a', () => reports([1], generateSigningKey())],
    ['nobody', 'pi-a', async () => JSON.stringify({ v: 1, session: 's', journal: 'j', reports: [notice(1)] })],
    ['a device that is not accepted', 'pi-pending', () => reports([1], pending)],
    ['an unknown device', 'pi-unknown', () => reports([1])],
  ])('signed by %s are dropped', async (_, device, make) => {
    pending = directory.add('pi-pending', 'pending')
    const handlers = recordingHandlers()
    await start(handlers)
    const client = await anyone()

    await client.publishAsync(upTopic('report', device), await make(), { qos: 1 })
    await client.publishAsync(upTopic('report'), await reports([2]), { qos: 1 })
    await until(() => handlers.calls.length > 0, 'the good one')

    expect(handlers.calls).toEqual([['reports', 'pi-a', [2]]])
  })
  let pending: SigningKey

  it('of one device that is slow to store hold up no other device', async () => {
    const other = directory.add('pi-b')
    const stored: string[] = []
    await start(
      recordingHandlers({
        onReports: (device) => {
          stored.push(device)
          return device === 'pi-a' ? new Promise(() => undefined) : Promise.resolve([1])
        },
      }),
    )
    const client = await anyone()

    await client.publishAsync(upTopic('report'), await reports([1]), { qos: 1 })
    await client.publishAsync(upTopic('report', 'pi-b'), await reports([1], other), { qos: 1 })

    await until(() => stored.includes('pi-b'), 'the other is stored')
  })
})

describe('the link publishes', () => {
  const state = { v: 1, fleet, device: 'pi-a', version: 3, issuedAtMs: 0, expiresAtMs: 1, slots: {} }

  it('goals: signed, and kept by the broker for a device that connects later', async () => {
    const link = await start(recordingHandlers())

    await link.publishDesired(state)
    const client = await anyone()
    const message = new Promise<Buffer>((resolve) => client.once('message', (_, payload) => resolve(payload)))
    await client.subscribeAsync(desiredTopic)
    const payload = await verifyDocument((await message).toString(), 'desired', controllerKey.publicKey)

    expect(decodeDocument('desired', payload)).toEqual(state)
  })

  it('chunks: never kept', async () => {
    const link = await start(recordingHandlers())
    const client = await anyone()
    const messages: string[] = []
    client.on('message', (_, payload, { retain, qos }) => messages.push(`${payload} ${retain} ${qos}`))
    const topic = formatTopic({ kind: 'chunks', fleet, artifact: 'a'.repeat(64), span: 0 })
    await client.subscribeAsync(topic)
    await until(async () => {
      await link.publishChunk(topic, Buffer.from('chunk')).catch(() => undefined)
      return messages.length > 0
    }, 'the chunk')

    expect(messages[0]).toBe('chunk false 0')
  })

  it('nothing without a connection, and says so', async () => {
    const link = await start(recordingHandlers())
    await link.stop()

    await expect(link.publishDesired(state)).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    expect(link.connected).toBe(false)
  })

  it('the removal of what the broker remembers of a device', async () => {
    const handlers = recordingHandlers()
    const link = await start(handlers)
    const client = await anyone()
    await client.publishAsync(upTopic('presence'), Buffer.from(encodeDocument('presence', birth)), {
      qos: 1,
      retain: true,
    })
    await link.publishDesired(state)

    await link.forget('pi-a')
    await aWhile()
    const remembered: string[] = []
    client.on('message', (topic) => remembered.push(topic))
    await client.subscribeAsync([upTopic('presence'), desiredTopic, controllerTopic])
    await until(() => remembered.length > 0, 'what is remembered')
    await aWhile()

    expect(remembered).toEqual([controllerTopic])
    expect(handlers.calls).toHaveLength(1)
  })
})

describe('the presence of the controller', () => {
  async function presences(client: MqttClient): Promise<{ online: boolean; session: string }[]> {
    const seen: { online: boolean; session: string }[] = []
    client.on('message', (topic, payload) => {
      if (topic === controllerTopic) seen.push(decodeDocument('controller', payload))
    })
    await client.subscribeAsync(controllerTopic)
    return seen
  }

  it('is announced when it starts and taken back when it stops', async () => {
    const client = await anyone()
    const seen = await presences(client)

    const link = await start(recordingHandlers())
    await link.stop()
    await until(() => seen.length === 2, 'both')

    expect(seen.map(({ online }) => online)).toEqual([true, false])
    expect(seen[0]?.session).toBe(seen[1]?.session)
  })

  it('has a new session with every connection, so that devices announce themselves again', async () => {
    const handlers = recordingHandlers()
    await start(handlers)
    const before = await anyone()
    const first = await presences(before)
    await until(() => first.length > 0, 'the first presence')

    await broker.close()
    broker = await startBroker()
    await turn()
    const after = await anyone()
    const second = await presences(after)
    await until(() => second.length > 0, 'the second presence')

    expect(second[0]).toMatchObject({ online: true })
    expect(second[0]?.session).not.toBe(first[0]?.session)
  })
})
