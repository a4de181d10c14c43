import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { encodeDocument, formatTopic, type ReportBody } from '@edgefit/shared/protocol'
import {
  createJoinSecret,
  encodeJoinToken,
  generateSigningKey,
  hashJoinSecret,
  keyFingerprint,
  loadOrCreateSigningKey,
  signDocument,
} from '@edgefit/shared/trust'
import { connect, MqttClient } from 'mqtt'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createDesiredGate, type DesiredOutcome } from '../../agent/link/desired.ts'
import { enrol } from '../../agent/link/enrol.ts'
import { deviceKeyPath, loadIdentity, saveIdentity } from '../../agent/link/identity.ts'
import { createOutbox, type Outbox } from '../../agent/link/outbox.ts'
import { createSession, type Session } from '../../agent/link/session.ts'
import { openAgentDatabase } from '../../agent/store/database.ts'
import { changeDeviceState, enrolDevice, findDevice } from '../../controller/fleet/device-registry.ts'
import { createIngest } from '../../controller/fleet/ingest.ts'
import { admitJoinToken, createJoinToken } from '../../controller/fleet/join-tokens.ts'
import { applyPresence } from '../../controller/fleet/presence.ts'
import type { BrokerAddress } from '../../controller/link/broker-client.ts'
import { type EmbeddedBroker, startEmbeddedBroker } from '../../controller/link/embedded-broker.ts'
import { createEnrolment, type Enrolment } from '../../controller/link/enrolment.ts'
import { createMqttLink, type MqttLink } from '../../controller/link/mqtt-link.ts'
import type { DeviceDirectory } from '../../controller/link/ports.ts'
import { createCommitQueue } from '../../controller/store/commit-queue.ts'
import { type ControllerDatabase, openStore } from '../../controller/store/index.ts'
import { aWhile, certificateAuthority, silentLog, temporaryFolder, until } from '../support/link.ts'
import { CONTROLLER_USER, hasMosquitto, type SecureMosquitto, startSecureMosquitto } from '../support/mosquitto.ts'

const fleet = 'lab'
const never = new AbortController().signal
const controllerKey = generateSigningKey()
const secret = createJoinSecret()
const notice = (message: string): ReportBody => ({ kind: 'notice', code: 'test', message })

async function openFleetState(): Promise<{ db: ControllerDatabase; directory: DeviceDirectory }> {
  const db = await openStore(join(await temporaryFolder(), 'fleet.db'))
  onTestFinished(() => db.destroy())
  const token = { id: 'token-1', secretHash: hashJoinSecret(secret), expiresAtMs: Date.now() + 60_000, maxUses: 1 }
  await createJoinToken(db, token, Date.now())
  const directory: DeviceDirectory = {
    async findIdentity(device) {
      const row = await findDevice(db, device)
      return row && { state: row.state, publicKey: row.public_key }
    },
    admitToken: (hash, device) => admitJoinToken(db, hash, device, Date.now()),
    enrol: (candidate) => enrolDevice(db, candidate, Date.now()),
  }
  return { db, directory }
}

interface Controller {
  readonly link: MqttLink
  readonly enrolment: Enrolment
  /** Goals published in answer to births. */
  readonly answers: string[]
}

/** The controller's end over real fleet state. Every birth is answered with an empty goal. */
async function startController(
  db: ControllerDatabase,
  directory: DeviceDirectory,
  broker: BrokerAddress,
): Promise<Controller> {
  const answers: string[] = []
  const enrolment = createEnrolment({ key: controllerKey, directory })
  const ingest = createIngest({ commits: createCommitQueue(db), now: Date.now })
  const link: MqttLink = createMqttLink({
    fleet,
    key: controllerKey,
    broker,
    directory,
    handlers: {
      async onPresence(device, presence, retained) {
        const change = await applyPresence(db, device, presence, Date.now())
        if (change !== 'online' || retained) return
        answers.push(device)
        const version = (presence.desiredVersion ?? 0) + 1
        const expiresAtMs = Date.now() + 60_000
        await link.publishDesired({ v: 1, fleet, device, version, issuedAtMs: Date.now(), expiresAtMs, slots: {} })
      },
      onProfile: () => Promise.resolve(),
      onReports: (device, batch) => ingest.accept(device, batch),
      onFetch: () => undefined,
      onEnrol: (device, request) => enrolment.receive(device, request),
      onConnection: () => undefined,
    },
    now: Date.now,
    log: silentLog,
  })
  link.start()
  onTestFinished(() => link.stop())
  await until(() => link.connected, 'the controller is connected')
  return { link, enrolment, answers }
}

interface Device {
  readonly id: string
  readonly session: Session
  readonly outbox: Outbox
  readonly outcomes: DesiredOutcome[]
}

/** Signs in with what enrolment has left in the state folder. */
async function startDevice(stateDir: string): Promise<Device> {
  const db = await openAgentDatabase(join(stateDir, 'state.db'))
  onTestFinished(() => db.destroy())
  const identity = await loadIdentity(stateDir)
  const outbox = await createOutbox(db, { now: Date.now })
  const session = createSession({
    identity,
    key: await loadOrCreateSigningKey(deviceKeyPath(stateDir)),
    agentVersion: '0.1.0',
    outbox,
    desired: createDesiredGate({ db, identity, now: Date.now }),
    profile: () => undefined,
    now: Date.now,
    random: Math.random,
    log: silentLog,
    timing: { reconnect: { baseMs: 50, capMs: 100 }, resend: { baseMs: 200, capMs: 200 }, announceWithinMs: 20 },
  })
  const outcomes: DesiredOutcome[] = []
  session.onDesired((outcome) => Promise.resolve(void outcomes.push(outcome)))
  onTestFinished(() => session.stop())
  session.start()
  return { id: identity.deviceId, session, outbox, outcomes }
}

async function enrolAndAccept(
  stateDir: string,
  db: ControllerDatabase,
  { link, enrolment }: Controller,
  broker: { readonly brokerUrl: string; readonly ca?: string },
): Promise<string> {
  const token = encodeJoinToken({
    v: 1,
    fleet,
    controllerKeyFingerprint: keyFingerprint(controllerKey.publicKey),
    secret,
    ...broker,
  })
  let device = ''
  const enrolled = enrol(
    {
      token,
      deviceName: 'pi',
      stateDir,
      labels: { site: 'lab' },
      agentVersion: '0.1.0',
      wait: true,
      onPending: ({ deviceId }) => {
        device = deviceId
      },
      now: Date.now,
      random: Math.random,
      log: silentLog,
    },
    never,
  )
  await until(() => device !== '', 'the device is pending')
  expect(await findDevice(db, device)).toMatchObject({ state: 'pending', online: 0 })
  await changeDeviceState(db, device, 'accepted', Date.now())
  const reply = await enrolment.decide(device, 'accepted')
  if (reply !== undefined) await link.publishEnrolReply(device, reply)
  expect(await enrolled).toMatchObject({ state: 'accepted', deviceId: device })
  return device
}

/** The numbers in the notices that the controller has committed. */
async function noticesIn(db: ControllerDatabase): Promise<number[]> {
  const events = await db.selectFrom('events').select('data').where('kind', '=', 'device-notice').execute()
  return events.map(({ data }) => Number((JSON.parse(data) as { message: string }).message))
}

describe('a device and its controller over the embedded broker, with TLS', () => {
  async function scene() {
    const folder = await temporaryFolder()
    const authority = await certificateAuthority(folder)
    const { certFile, keyFile } = authority.issue('broker')
    const tls = { cert: await readFile(certFile, 'utf8'), key: await readFile(keyFile, 'utf8') }
    const { db, directory } = await openFleetState()
    let broker: EmbeddedBroker
    let port = 0
    async function startBroker(): Promise<void> {
      const address = { host: '127.0.0.1', port, ...tls }
      broker = await startEmbeddedBroker({ fleet, tls: address, directory, now: Date.now, log: silentLog })
      port = broker.tlsPort ?? 0
    }
    await startBroker()
    onTestFinished(() => broker.close())
    const controller = await startController(db, directory, { kind: 'embedded', openStream: () => broker.openStream() })
    const stateDir = join(folder, 'state')
    const brokerUrl = `mqtts://localhost:${port}`
    const device = await enrolAndAccept(stateDir, db, controller, { brokerUrl, ca: authority.ca })
    return {
      db,
      directory,
      controller,
      stateDir,
      device,
      port,
      authority,
      broker: () => broker,
      async restartBroker(): Promise<void> {
        await broker.close()
        await startBroker()
      },
      /** May say and hear everything. */
      async anyone(): Promise<MqttClient> {
        const client = new MqttClient(() => broker.openStream(), { reconnectPeriod: 0 })
        onTestFinished(() => void client.end(true))
        await new Promise((resolve) => client.once('connect', resolve))
        return client
      },
    }
  }

  it('enrols, signs in, is answered with its goal and gets its reports committed', async () => {
    const { db, stateDir, device, controller } = await scene()

    const { outbox, outcomes } = await startDevice(stateDir)
    await outbox.add(notice('1'))
    await until(async () => (await outbox.pending(1)).length === 0, 'the report is acknowledged')
    await until(() => outcomes.length > 0, 'the goal arrives')

    expect(await noticesIn(db)).toEqual([1])
    expect(await findDevice(db, device)).toMatchObject({ online: 1, agent_version: '0.1.0' })
    expect(controller.answers).toContain(device)
    expect(outcomes[0]).toMatchObject({ kind: 'accepted', changed: true })
  })

  it('finds together again after the broker was restarted and has forgotten everything', async () => {
    const { db, stateDir, device, controller, restartBroker } = await scene()
    const { outbox, outcomes, session } = await startDevice(stateDir)
    await until(() => outcomes.length === 1, 'the first goal')

    await restartBroker()
    await outbox.add(notice('1'))
    await until(async () => (await outbox.pending(1)).length === 0, 'the report is acknowledged')
    await until(() => outcomes.length >= 2, 'the goal comes again')

    expect(session.state.kind).toBe('connected')
    expect(await noticesIn(db)).toEqual([1])
    expect(controller.answers.length).toBeGreaterThanOrEqual(2)
    expect(await findDevice(db, device)).toMatchObject({ online: 1 })
  })

  it('keeps each report once, however often and in whatever order the batches come', async () => {
    const { db, stateDir, device, anyone } = await scene()
    const key = await loadOrCreateSigningKey(deviceKeyPath(stateDir))
    const client = await anyone()
    const acks: string[] = []
    client.on('message', (_, payload) => acks.push(payload.toString()))
    await client.subscribeAsync(formatTopic({ kind: 'down', fleet, device, channel: 'ack' }), { qos: 1 })
    const send = async (...seqs: number[]) => {
      const reports = seqs.map((seq) => ({ seq, atMs: 0, body: notice(`${seq}`) }))
      const batch = encodeDocument('reports', { v: 1, session: 'session-1', journal: 'journal-1', reports })
      const topic = formatTopic({ kind: 'up', fleet, device, channel: 'report' })
      await client.publishAsync(topic, await signDocument(key, 'reports', batch), { qos: 1 })
    }

    await send(3, 4)
    await send(1, 2)
    await send(1, 2, 3)
    await send(4)
    await until(() => acks.length === 4, 'every batch is acknowledged')

    expect((await noticesIn(db)).sort()).toEqual([1, 2, 3, 4])
  })

  it('is not taken for gone because of a late will, and clears that up', async () => {
    const { db, stateDir, device, controller, anyone } = await scene()
    const { session } = await startDevice(stateDir)
    await until(() => session.state.kind === 'connected', 'it is connected')
    await until(() => controller.answers.length === 1, 'its birth')
    const client = await anyone()
    const late = { v: 1, online: false, session: 'an older one', atMs: 0, agentVersion: '0.1.0', labels: {} }
    const topic = formatTopic({ kind: 'up', fleet, device, channel: 'presence' })

    await client.publishAsync(topic, Buffer.from(encodeDocument('presence', late)), { qos: 1, retain: true })
    await until(() => controller.answers.length === 2, 'it announces itself again')

    expect(await findDevice(db, device)).toMatchObject({ online: 1 })
  })

  it('is offline once its connection is lost', async () => {
    const { db, stateDir, device, directory, broker } = await scene()
    const { session } = await startDevice(stateDir)
    await until(async () => (await findDevice(db, device))?.online === 1, 'it is online')
    await changeDeviceState(db, device, 'decommissioned', Date.now())

    await broker().disconnect(device)
    await until(() => session.state.kind === 'connecting' && session.state.failures >= 2, 'it is turned away')

    expect(await findDevice(db, device)).toMatchObject({ online: 0 })
    expect(await directory.findIdentity(device)).toMatchObject({ state: 'decommissioned' })
  })

  it('refuses a goal of another protocol version and tells the controller so', async () => {
    const { stateDir, device, db, anyone } = await scene()
    const { outcomes, outbox } = await startDevice(stateDir)
    await until(() => outcomes.length === 1, 'the first goal')
    const client = await anyone()
    const future = Buffer.from(JSON.stringify({ v: 2, slots: { vision: { deploymentId: 'd-1', attempt: 1 } } }))
    const topic = formatTopic({ kind: 'down', fleet, device, channel: 'desired' })

    await client.publishAsync(topic, await signDocument(controllerKey, 'desired', future), { qos: 1 })
    await until(() => outcomes.length === 2, 'the refusal')
    await until(async () => (await outbox.pending(1)).length === 0, 'the notice is acknowledged')
    const events = await db.selectFrom('events').select('data').where('kind', '=', 'device-notice').execute()

    expect(outcomes[1]).toMatchObject({ code: 'PROTOCOL_UNSUPPORTED', deployments: [{ deploymentId: 'd-1' }] })
    expect(events.map(({ data }) => data)).toEqual([expect.stringContaining('protocol version 2')])
  })

  it('lets the join token be used for the devices it was made for, and nobody in without the CA', async () => {
    const { stateDir, port, authority } = await scene()
    const url = `mqtts://localhost:${port}`
    const attempt = async (clientId: string, ca?: string) => {
      const credentials = { clientId, username: 'enrol', password: secret, reconnectPeriod: 0 }
      const client = connect(url, { ...credentials, ...(ca === undefined ? {} : { ca }) })
      onTestFinished(() => void client.end(true))
      return await new Promise<string>((resolve) => {
        client.once('connect', () => resolve('connected'))
        client.once('error', (error) => resolve(error.message))
      })
    }

    const { deviceId } = await loadIdentity(stateDir)

    expect(await attempt(`enrol:${deviceId}`, authority.ca)).toBe('connected')
    expect(await attempt('enrol:another', authority.ca)).toMatch(/Bad username or password/)
    expect(await attempt(`enrol:${deviceId}`)).toMatch(/certificate/)
  })
})

describe.runIf(hasMosquitto)('a device and its controller over Mosquitto', () => {
  async function scene() {
    const folder = await temporaryFolder()
    const mosquitto = await startSecureMosquitto(folder)
    await mosquitto.setPassword('enrol', secret)
    const { db, directory } = await openFleetState()
    const { authority, url } = mosquitto
    const { username, password } = CONTROLLER_USER
    const external = url.replace('://', `://${username}:${password}@`)
    const controller = await startController(db, directory, { kind: 'external', url: external, ca: authority.ca })
    const stateDir = join(folder, 'state')
    const device = await enrolAndAccept(stateDir, db, controller, { brokerUrl: url, ca: authority.ca })
    return { mosquitto, db, directory, external, controller, stateDir, device }
  }

  async function withPassword({ setPassword }: SecureMosquitto, stateDir: string): Promise<void> {
    const identity = await loadIdentity(stateDir)
    await setPassword(identity.deviceId, 'device-password')
    const signIn = { kind: 'password', username: identity.deviceId, password: 'device-password' } as const
    await saveIdentity(stateDir, { ...identity, signIn })
  }

  async function withCertificate({ authority, certificateUrl }: SecureMosquitto, stateDir: string): Promise<void> {
    const identity = await loadIdentity(stateDir)
    const signIn = { kind: 'certificate', ...authority.issue(identity.deviceId) } as const
    await saveIdentity(stateDir, { ...identity, brokerUrl: certificateUrl, signIn })
  }

  it.each([
    ['a password', withPassword],
    ['a client certificate', withCertificate],
  ] as const)('signs in with %s, gets its goal and has its reports committed', async (_, letIn) => {
    const { mosquitto, db, stateDir, device } = await scene()
    await letIn(mosquitto, stateDir)

    const { outbox, outcomes } = await startDevice(stateDir)
    await outbox.add(notice('1'))
    await until(async () => (await outbox.pending(1)).length === 0, 'the report is acknowledged')
    await until(() => outcomes.length > 0, 'the goal arrives')

    expect(await noticesIn(db)).toEqual([1])
    expect(await findDevice(db, device)).toMatchObject({ online: 1 })
  })

  it('finds together again after the broker was restarted and has forgotten everything', async () => {
    const { mosquitto, db, stateDir, controller } = await scene()
    await withPassword(mosquitto, stateDir)
    const { outbox, outcomes } = await startDevice(stateDir)
    await until(() => outcomes.length === 1, 'the first goal')
    const answered = controller.answers.length

    await mosquitto.restart()
    await outbox.add(notice('1'))
    await until(async () => (await outbox.pending(1)).length === 0, 'the report is acknowledged')
    await until(() => controller.answers.length > answered, 'its birth is answered again')

    expect(await noticesIn(db)).toEqual([1])
  })

  it('takes what the broker remembers for what it is: no birth, no answer', async () => {
    const { mosquitto, db, directory, external, stateDir, device, controller } = await scene()
    await withPassword(mosquitto, stateDir)
    const { session } = await startDevice(stateDir)
    await until(() => session.state.kind === 'connected', 'it is connected')
    await until(async () => (await findDevice(db, device))?.online === 1, 'it is online')
    await controller.link.stop()
    await db.updateTable('devices').set({ online: 0, session: null }).execute()
    await session.stop()

    const { ca } = mosquitto.authority
    const second = await startController(db, directory, { kind: 'external', url: external, ca })
    await aWhile()

    expect(second.answers).toEqual([])
    expect(await findDevice(db, device)).toMatchObject({ online: 0 })
  })
})
