import { join } from 'node:path'
import { encodeDocument, formatTopic } from '@edgefit/shared/protocol'
import { loadOrCreateSigningKey, signDocument } from '@edgefit/shared/trust'
import { connect, MqttClient } from 'mqtt'
import { describe, expect, it, onTestFinished } from 'vitest'
import { deviceKeyPath, loadIdentity } from '../../agent/link/identity.ts'
import { changeDeviceState, findDevice } from '../../controller/fleet/device-registry.ts'
import { type EmbeddedBroker, startEmbeddedBroker } from '../../controller/link/embedded-broker.ts'
import { certificateAuthority, readCertificate, silentLog, temporaryFolder, until } from '../support/link.ts'
import {
  controllerKey,
  enrolAndAccept,
  fleet,
  notice,
  noticesIn,
  openFleetState,
  secret,
  startController,
  startDevice,
} from './support/fleet-link.ts'

describe('a device and its controller over the embedded broker, with TLS', () => {
  async function scene() {
    const folder = await temporaryFolder()
    const authority = await certificateAuthority(folder)
    const tls = await readCertificate(authority.issue('broker'))
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
