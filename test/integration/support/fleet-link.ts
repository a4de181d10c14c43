import { join } from 'node:path'
import type { ReportBody } from '@edgefit/shared/protocol'
import {
  createJoinSecret,
  encodeJoinToken,
  generateSigningKey,
  hashJoinSecret,
  keyFingerprint,
  loadOrCreateSigningKey,
} from '@edgefit/shared/trust'
import { expect, onTestFinished } from 'vitest'
import { createDesiredGate, type DesiredOutcome } from '../../../agent/link/desired.ts'
import { enrol } from '../../../agent/link/enrol.ts'
import { deviceKeyPath, loadIdentity } from '../../../agent/link/identity.ts'
import { createOutbox, type Outbox } from '../../../agent/link/outbox.ts'
import { createSession, type Session } from '../../../agent/link/session.ts'
import { openAgentDatabase } from '../../../agent/store/database.ts'
import { changeDeviceState, enrolDevice, findDevice } from '../../../controller/fleet/device-registry.ts'
import { createIngest } from '../../../controller/fleet/ingest.ts'
import { admitJoinToken, createJoinToken } from '../../../controller/fleet/join-tokens.ts'
import { applyPresence } from '../../../controller/fleet/presence.ts'
import type { BrokerAddress } from '../../../controller/link/broker-client.ts'
import { createEnrolment, type Enrolment } from '../../../controller/link/enrolment.ts'
import { createMqttLink, type MqttLink } from '../../../controller/link/mqtt-link.ts'
import type { DeviceDirectory } from '../../../controller/link/ports.ts'
import { createCommitQueue } from '../../../controller/store/commit-queue.ts'
import { type ControllerDatabase, openStore } from '../../../controller/store/index.ts'
import { silentLog, temporaryFolder, until } from '../../support/link.ts'

export const fleet = 'lab'
const never = new AbortController().signal
export const controllerKey = generateSigningKey()
export const secret = createJoinSecret()
export const notice = (message: string): ReportBody => ({ kind: 'notice', code: 'test', message })

/** Fleet state in which the join token of {@link secret} is good for one device. */
export async function openFleetState(): Promise<{ db: ControllerDatabase; directory: DeviceDirectory }> {
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
export async function startController(
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
export async function startDevice(stateDir: string): Promise<Device> {
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

export async function enrolAndAccept(
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
export async function noticesIn(db: ControllerDatabase): Promise<number[]> {
  const events = await db.selectFrom('events').select('data').where('kind', '=', 'device-notice').execute()
  return events.map(({ data }) => Number((JSON.parse(data) as { message: string }).message))
}
