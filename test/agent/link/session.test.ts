import { decodeDocument, decodeReports, encodeDocument, formatTopic, type UpChannel } from '@edgefit/shared/protocol'
import { generateSigningKey, type SigningKey, signDocument, verifyDocument } from '@edgefit/shared/trust'
import { MqttClient } from 'mqtt'
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { createDesiredGate, type DesiredOutcome } from '../../../agent/link/desired.ts'
import { createOutbox, type Outbox } from '../../../agent/link/outbox.ts'
import { createSession, type Session, type SessionOptions } from '../../../agent/link/session.ts'
import { openAgentDatabase } from '../../../agent/store/database.ts'
import { type EmbeddedBroker, startEmbeddedBroker } from '../../../controller/link/embedded-broker.ts'
import { aWhile, type MemoryDirectory, memoryDirectory, silentLog, until } from '../../support/link.ts'

const fleet = 'lab'
const device = 'pi-a'
const controllerKey = generateSigningKey()
const quick = {
  reconnect: { baseMs: 20, capMs: 50 },
  resend: { baseMs: 50, capMs: 50 },
  stableAfterMs: 60_000,
  announceWithinMs: 20,
  clockPollMs: 5,
}
const upTopic = (channel: UpChannel) => formatTopic({ kind: 'up', fleet, device, channel })
const downTopic = (channel: 'desired' | 'ack') => formatTopic({ kind: 'down', fleet, device, channel })
const controllerTopic = formatTopic({ kind: 'controller', fleet })

let directory: MemoryDirectory
let key: SigningKey
let broker: EmbeddedBroker
let port: number

beforeEach(async () => {
  directory = memoryDirectory()
  key = directory.add(device)
  port = 0
  await startBroker()
  return () => broker.close()
})

async function startBroker(): Promise<void> {
  const tcp = { host: '127.0.0.1', port }
  broker = await startEmbeddedBroker({ fleet, tcp, directory, now: Date.now, log: silentLog })
  port = broker.tcpPort ?? 0
}

interface Started {
  readonly session: Session
  readonly outbox: Outbox
  readonly outcomes: DesiredOutcome[]
}

async function start(over: Partial<SessionOptions> = {}): Promise<Started> {
  const db = await openAgentDatabase(':memory:')
  onTestFinished(() => db.destroy())
  const outbox = await createOutbox(db, { now: Date.now })
  const identity = {
    v: 1,
    fleet,
    deviceId: device,
    brokerUrl: `mqtt://127.0.0.1:${port}`,
    controllerKey: controllerKey.publicKey,
    labels: { site: 'lab' },
    signIn: { kind: 'device-key' },
  } as const
  const session = createSession({
    identity,
    key,
    agentVersion: '0.1.0',
    outbox,
    desired: createDesiredGate({ db, identity, now: Date.now }),
    profile: () => undefined,
    now: Date.now,
    random: Math.random,
    log: silentLog,
    timing: quick,
    ...over,
  })
  const outcomes: DesiredOutcome[] = []
  session.onDesired((outcome) => Promise.resolve(void outcomes.push(outcome)))
  onTestFinished(() => session.stop())
  session.start()
  return { session, outbox, outcomes }
}

interface Controller {
  readonly client: MqttClient
  readonly presences: { readonly online: boolean; readonly session: string }[]
  readonly batches: Promise<number[]>[]
}

/** Hears all that devices say, and may say anything. */
async function controller(): Promise<Controller> {
  const client = new MqttClient(broker.openStream, { clientId: 'controller', reconnectPeriod: 0 })
  onTestFinished(() => void client.end(true))
  await new Promise((resolve) => client.once('connect', resolve))
  const presences: Controller['presences'] = []
  const batches: Controller['batches'] = []
  client.on('message', (topic, payload) => {
    if (topic === upTopic('presence')) presences.push(decodeDocument('presence', payload))
    if (topic === upTopic('report')) batches.push(readSeqs(payload.toString()))
  })
  await client.subscribeAsync([upTopic('presence'), upTopic('report')], { qos: 1 })
  return { client, presences, batches }
}

async function readSeqs(jws: string): Promise<number[]> {
  const { batch } = decodeReports(await verifyDocument(jws, 'reports', key.publicKey))
  return batch.reports.map(({ seq }) => seq)
}

async function ack(client: MqttClient, outbox: Outbox, seqs: number[]): Promise<void> {
  const document = encodeDocument('ack', { v: 1, journal: outbox.journal, seqs })
  await client.publishAsync(downTopic('ack'), Buffer.from(document), { qos: 1 })
}

async function desired(version: number, signer = controllerKey): Promise<string> {
  const state = { v: 1, fleet, device, version, issuedAtMs: 0, expiresAtMs: Date.now() + 60_000, slots: {} }
  return await signDocument(signer, 'desired', encodeDocument('desired', state))
}

const notice = (message: string) => ({ kind: 'notice', code: 'test', message }) as const

describe('a session', () => {
  it('announces the device, and takes that back when it stops', async () => {
    const { presences } = await controller()

    const { session } = await start()
    await until(() => presences.length === 1, 'the birth')
    await until(() => session.state.kind === 'connected', 'the session knows')
    await session.stop()
    await until(() => presences.length === 2, 'the farewell')
    await aWhile()

    expect(presences).toEqual([
      expect.objectContaining({ online: true, labels: { site: 'lab' }, agentVersion: '0.1.0', desiredVersion: 0 }),
      expect.objectContaining({ online: false }),
    ])
    expect(presences[1]?.session).toBe(presences[0]?.session)
    expect(session.state).toEqual({ kind: 'stopped' })
  })

  it('leaves a will of the same session when it is cut off, and comes back with another one', async () => {
    const { presences } = await controller()
    await start()
    await until(() => presences.length === 1, 'the first birth')

    await broker.disconnect(device)
    await until(() => presences.length >= 3, 'will and second birth')

    const [first, will, second] = presences
    expect(will).toMatchObject({ online: false, session: first?.session })
    expect(second?.online).toBe(true)
    expect(second?.session).not.toBe(first?.session)
  })

  it('announces itself again when a late will hides it', async () => {
    const { client, presences } = await controller()
    const { session } = await start()
    await until(() => session.state.kind === 'connected', 'it is connected')
    const late = { v: 1, online: false, session: 'an older one', atMs: 0, agentVersion: '0.1.0', labels: {} }

    await client.publishAsync(upTopic('presence'), Buffer.from(encodeDocument('presence', late)), {
      qos: 1,
      retain: true,
    })
    await until(() => presences.length >= 3, 'the answer to the late will')

    expect(presences[2]).toEqual(expect.objectContaining({ online: true, session: presences[0]?.session }))
  })

  it('announces itself to a controller that comes back, and to no other presence of it', async () => {
    const { client, presences } = await controller()
    const { session } = await start()
    await until(() => session.state.kind === 'connected', 'it is connected')
    const say = (online: boolean, name: string) =>
      client.publishAsync(
        controllerTopic,
        Buffer.from(encodeDocument('controller', { v: 1, online, session: name, atMs: 0 })),
        { qos: 1, retain: true },
      )

    await say(false, 'controller-1')
    await say(true, 'controller-2')
    await until(() => presences.length === 2, 'the second birth')
    await say(true, 'controller-2')
    await aWhile()

    expect(presences).toHaveLength(2)
  })

  it('tries again, ever more rarely, while the broker turns it away, and says why', async () => {
    directory.devices.set(device, { state: 'pending', publicKey: key.publicKey })
    const { session } = await start()

    await until(() => session.state.kind === 'connecting' && session.state.failures >= 2, 'two failures')
    expect(session.state).toMatchObject({ lastError: expect.stringMatching(/refuses the sign-in.*accepted/) })
    directory.devices.set(device, { state: 'accepted', publicKey: key.publicKey })

    await until(() => session.state.kind === 'connected', 'it gets in once accepted')
  })

  it('waits for the time on a box without a clock before it signs in', async () => {
    let nowMs = 0
    const { session } = await start({ now: () => nowMs })
    await aWhile()
    expect(session.state).toEqual({ kind: 'waiting-for-time' })

    nowMs = Date.now()

    await until(() => session.state.kind === 'connected', 'it signs in')
  })

  it('stops at any moment', async () => {
    await broker.close()
    const { session } = await start()
    await until(() => session.state.kind === 'connecting' && session.state.failures > 0, 'it is trying')

    await session.stop()

    expect(session.state).toEqual({ kind: 'stopped' })
  })
})

describe('reports', () => {
  it('are sent, signed, until they are acknowledged', async () => {
    const { client, batches } = await controller()
    const { outbox } = await start()

    await outbox.add(notice('first'))
    await until(() => batches.length >= 3, 'it is sent again and again')
    expect(await Promise.all(batches.slice(0, 3))).toEqual([[1], [1], [1]])
    await ack(client, outbox, [1])
    await until(async () => (await outbox.pending(1)).length === 0, 'it is forgotten')
    const sent = batches.length
    await aWhile()

    expect(batches).toHaveLength(sent)
  })

  it('written while there was no connection are sent, oldest first', async () => {
    await broker.close()
    const { outbox } = await start()
    await outbox.add(notice('first'))
    await outbox.add(notice('second'))

    await startBroker()
    const { batches } = await controller()
    await until(() => batches.length > 0, 'they arrive')

    expect(await batches[0]).toEqual([1, 2])
  })

  it('are sent again after the broker was restarted, when nobody had acknowledged them', async () => {
    const before = await controller()
    const { outbox } = await start({ timing: { ...quick, resend: { baseMs: 60_000, capMs: 60_000 } } })
    await outbox.add(notice('first'))
    await until(() => before.batches.length > 0, 'it is sent')

    await broker.close()
    await startBroker()
    const after = await controller()
    await until(() => after.batches.length > 0, 'it is sent again')

    expect(await after.batches[0]).toEqual([1])
  })

  it('are sent again at once to a controller that comes back', async () => {
    const { client, batches } = await controller()
    const { outbox } = await start({ timing: { ...quick, resend: { baseMs: 60_000, capMs: 60_000 } } })
    await outbox.add(notice('first'))
    await until(() => batches.length === 1, 'it is sent')

    const presence = encodeDocument('controller', { v: 1, online: true, session: 'controller-2', atMs: 0 })
    await client.publishAsync(controllerTopic, Buffer.from(presence), { qos: 1 })

    await until(() => batches.length === 2, 'it is sent again')
  })
})

describe('goals', () => {
  it('reach the handler, those the broker kept as well as new ones', async () => {
    const { client } = await controller()
    await client.publishAsync(downTopic('desired'), await desired(1), { qos: 1, retain: true })

    const { outcomes } = await start()
    await until(() => outcomes.length === 1, 'the kept one')
    await client.publishAsync(downTopic('desired'), await desired(2), { qos: 1, retain: true })
    await until(() => outcomes.length === 2, 'the new one')

    expect(outcomes).toEqual([
      expect.objectContaining({ kind: 'accepted', state: expect.objectContaining({ version: 1 }) }),
      expect.objectContaining({ kind: 'accepted', state: expect.objectContaining({ version: 2 }) }),
    ])
  })

  it('that are refused reach it too, and are reported once however often they come', async () => {
    const { client } = await controller()
    const { session, outcomes, outbox } = await start()
    await until(() => session.state.kind === 'connected', 'it is connected')
    const forged = await desired(1, generateSigningKey())

    for (let times = 0; times < 3; times += 1)
      await client.publishAsync(downTopic('desired'), forged, { qos: 1, retain: true })
    await until(() => outcomes.length === 3, 'all of them')

    expect(outcomes[2]).toMatchObject({ kind: 'refused', code: 'SIGNATURE_INVALID' })
    expect((await outbox.pending(1e6)).map(({ body }) => body)).toEqual([
      expect.objectContaining({ kind: 'notice', code: 'SIGNATURE_INVALID' }),
    ])
  })

  it('show in the next birth how far they have come', async () => {
    const { client, presences } = await controller()
    const { session, outcomes } = await start()
    await until(() => session.state.kind === 'connected', 'it is connected')
    await client.publishAsync(downTopic('desired'), await desired(41), { qos: 1 })
    await until(() => outcomes.length === 1, 'it is accepted')

    await broker.disconnect(device)
    await until(() => presences.length >= 3, 'the next birth')

    expect(presences[2]).toMatchObject({ online: true, desiredVersion: 41 })
  })
})

describe('chunks', () => {
  const artifact = 'a'.repeat(64)
  const chunkTopic = formatTopic({ kind: 'chunks', fleet, artifact, span: 7 })

  it('of a subscribed span reach the downloads until it is unsubscribed', async () => {
    const { client } = await controller()
    const { session } = await start()
    const frames: unknown[] = []
    session.chunks.onFrame((...frame) => frames.push(frame))
    await until(() => session.chunks.connected(), 'it is connected')

    await session.chunks.subscribeSpan(artifact, 7, false)
    await client.publishAsync(chunkTopic, 'chunk')
    await until(() => frames.length === 1, 'the chunk')
    await session.chunks.unsubscribeSpan(artifact, 7, false)
    await client.publishAsync(chunkTopic, 'too late')
    await aWhile()

    expect(frames).toEqual([[artifact, 7, Buffer.from('chunk')]])
  })

  it('have to be asked for again on a new connection, which is told', async () => {
    const { session } = await start()
    await until(() => session.chunks.connected(), 'it is connected')
    let told = 0
    const stop = session.chunks.onReconnect(() => {
      told += 1
    })

    await broker.disconnect(device)
    await until(() => told === 1, 'the new connection')
    stop()

    expect(session.chunks.connected()).toBe(true)
  })

  it('cannot be asked for without a connection', async () => {
    const { session } = await start()
    await until(() => session.chunks.connected(), 'it is connected')
    await session.stop()

    await expect(session.chunks.subscribeSpan(artifact, 7, true)).rejects.toMatchObject({ code: 'UNAVAILABLE' })
  })

  it('of a span of its own come under a topic that only it may read', async () => {
    const { client } = await controller()
    const { session } = await start()
    const frames: unknown[] = []
    session.chunks.onFrame((...frame) => frames.push(frame))
    await until(() => session.chunks.connected(), 'it is connected')

    await session.chunks.subscribeSpan(artifact, 7, true)
    await client.publishAsync(chunkTopic, 'for all')
    await client.publishAsync(formatTopic({ kind: 'chunks', fleet, artifact, span: 7, device }), 'for it')
    await until(() => frames.length > 0, 'its chunk')

    expect(frames).toEqual([[artifact, 7, Buffer.from('for it')]])
  })
})
