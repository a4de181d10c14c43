import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Labels } from '@edgefit/shared/model'
import {
  createJoinSecret,
  encodeJoinToken,
  generateSigningKey,
  hashJoinSecret,
  type JoinToken,
  keyFingerprint,
} from '@edgefit/shared/trust'
import { beforeEach, describe, expect, it } from 'vitest'
import { type EnrolOptions, type EnrolResult, enrol } from '../../../agent/link/enrol.ts'
import { findIdentity, loadIdentity, saveIdentity } from '../../../agent/link/identity.ts'
import { type EmbeddedBroker, startEmbeddedBroker } from '../../../controller/link/embedded-broker.ts'
import { createEnrolment, type Enrolment } from '../../../controller/link/enrolment.ts'
import { createMqttLink, type MqttLink } from '../../../controller/link/mqtt-link.ts'
import { type MemoryDirectory, memoryDirectory, silentLog, temporaryFolder, until } from '../../support/link.ts'

const fleet = 'lab'
const never = new AbortController().signal
const controllerKey = generateSigningKey()
let directory: MemoryDirectory
let broker: EmbeddedBroker
let enrolment: Enrolment
let link: MqttLink
let token: JoinToken
let stateDir: string

beforeEach(async () => {
  stateDir = join(await temporaryFolder(), 'state')
  directory = memoryDirectory()
  const tcp = { host: '127.0.0.1', port: 0 }
  broker = await startEmbeddedBroker({ fleet, tcp, directory, now: Date.now, log: silentLog })
  enrolment = createEnrolment({ key: controllerKey, directory })
  link = await startLink(enrolment)
  const secret = createJoinSecret()
  directory.tokenHashes.add(hashJoinSecret(secret))
  token = {
    v: 1,
    fleet,
    brokerUrl: `mqtt://127.0.0.1:${broker.tcpPort}`,
    controllerKeyFingerprint: keyFingerprint(controllerKey.publicKey),
    secret,
  }
  return async () => {
    await link.stop()
    await broker.close()
  }
})

async function startLink(of: Enrolment): Promise<MqttLink> {
  let connected = false
  const started = createMqttLink({
    fleet,
    key: controllerKey,
    broker: { kind: 'embedded', openStream: () => broker.openStream() },
    directory,
    handlers: {
      onPresence: () => Promise.resolve(),
      onProfile: () => Promise.resolve(),
      onReports: () => Promise.resolve([]),
      onFetch: () => undefined,
      onEnrol: (device, request) => of.receive(device, request),
      onConnection: (up) => {
        connected = up
      },
    },
    now: Date.now,
    log: silentLog,
  })
  started.start()
  await until(() => connected, 'the controller is connected')
  return started
}

function options(over: Partial<EnrolOptions> = {}): EnrolOptions {
  return {
    token: encodeJoinToken(token),
    deviceName: 'Pi Kitchen',
    stateDir,
    labels: { site: 'lab' } satisfies Labels,
    agentVersion: '0.1.0',
    wait: false,
    now: Date.now,
    random: Math.random,
    log: silentLog,
    timing: { askEveryMs: 200, giveUpAfterMs: 1_000, reconnect: { baseMs: 10, capMs: 20 } },
    ...over,
  }
}

async function accept(deviceId: string): Promise<void> {
  const { publicKey } = directory.devices.get(deviceId) ?? expect.fail(`${deviceId} has not asked`)
  directory.devices.set(deviceId, { state: 'accepted', publicKey })
  const reply = await enrolment.decide(deviceId, 'accepted')
  if (reply !== undefined) await link.publishEnrolReply(deviceId, reply)
}

describe('enrol', () => {
  it('makes a key, asks, and keeps what it needs to sign in', async () => {
    const result = await enrol(options(), never)

    const identity = await loadIdentity(stateDir)
    expect(result.state).toBe('pending')
    expect(result.deviceId).toBe(`pi-kitchen-${result.fingerprint.slice(0, 8)}`)
    expect(identity).toEqual({
      v: 1,
      fleet,
      deviceId: result.deviceId,
      brokerUrl: token.brokerUrl,
      controllerKey: controllerKey.publicKey,
      labels: { site: 'lab' },
      signIn: { kind: 'device-key' },
    })
    expect((await stat(join(stateDir, 'agent.json'))).mode & 0o777).toBe(0o600)
    expect(keyFingerprint(directory.devices.get(result.deviceId)?.publicKey ?? '')).toBe(result.fingerprint)
  })

  it('asks again with the same key and name when it is run again', async () => {
    const first = await enrol(options(), never)
    await accept(first.deviceId)

    const second = await enrol(options(), never)

    expect(second).toEqual({ ...first, state: 'accepted' })
    expect(directory.devices.size).toBe(1)
  })

  it('waits, if asked to, until the operator has decided', async () => {
    const pending: EnrolResult[] = []
    const timing = { askEveryMs: 60_000, giveUpAfterMs: 60_000 }
    const enrolled = enrol(options({ wait: true, onPending: (result) => pending.push(result), timing }), never)
    await until(() => pending.length > 0, 'it is pending')

    await accept(pending[0]?.deviceId ?? '')

    expect(await enrolled).toEqual({ ...pending[0], state: 'accepted' })
    expect(pending).toHaveLength(1)
  })

  it('learns of the decision also from a controller that was restarted meanwhile', async () => {
    const pending: EnrolResult[] = []
    const enrolled = enrol(options({ wait: true, onPending: (result) => pending.push(result) }), never)
    await until(() => pending.length > 0, 'it is pending')
    await link.stop()
    const { deviceId = '' } = pending[0] ?? {}
    directory.devices.set(deviceId, { state: 'rejected', publicKey: directory.devices.get(deviceId)?.publicKey ?? '' })

    link = await startLink(createEnrolment({ key: controllerKey, directory }))

    expect(await enrolled).toMatchObject({ state: 'rejected' })
  })

  it('stops waiting when told to', async () => {
    const stop = new AbortController()
    const enrolled = enrol(options({ wait: true, onPending: () => stop.abort() }), stop.signal)

    await expect(enrolled).rejects.toThrow(/abort/)
    expect(await findIdentity(stateDir)).toBeDefined()
  })

  it('refuses a controller that is not the one of the token, and keeps nothing of it', async () => {
    token = { ...token, controllerKeyFingerprint: keyFingerprint(generateSigningKey().publicKey) }

    await expect(enrol(options(), never)).rejects.toMatchObject({
      code: 'SIGNATURE_INVALID',
      message: expect.stringMatching(/not the one .*check the broker address/),
    })
    expect(await findIdentity(stateDir)).toBeUndefined()
  })

  it('is refused with a token that the controller does not know', async () => {
    directory.tokenHashes.clear()

    await expect(enrol(options(), never)).rejects.toMatchObject({
      code: 'AUTH_REFUSED',
      message: expect.stringContaining('join token is not accepted'),
    })
  })

  it('refuses a token that has expired without asking anybody', async () => {
    token = { ...token, expiresAtMs: 1 }

    await expect(enrol(options(), never)).rejects.toMatchObject({ code: 'AUTH_REFUSED' })
    expect(directory.devices.size).toBe(0)
  })

  it('refuses a token that is no token', async () => {
    await expect(enrol(options({ token: 'edgefit-join-nonsense' }), never)).rejects.toMatchObject({
      code: 'INPUT_INVALID',
    })
  })

  it('gives up on a controller that does not answer', async () => {
    await link.stop()

    await expect(enrol(options({ timing: { askEveryMs: 20, giveUpAfterMs: 60 } }), never)).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      message: expect.stringContaining('does not answer'),
    })
  })

  it('gives up on a broker that is not there', async () => {
    token = { ...token, brokerUrl: 'mqtt://127.0.0.1:1' }

    await expect(enrol(options({ timing: { giveUpAfterMs: 50 } }), never)).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      message: expect.stringContaining('mqtt://127.0.0.1:1'),
    })
  })

  it('does not move a box that belongs to another fleet', async () => {
    await enrol(options(), never)
    const identity = await loadIdentity(stateDir)
    await saveIdentity(stateDir, { ...identity, fleet: 'field' })

    await expect(enrol(options(), never)).rejects.toMatchObject({
      code: 'CONFLICT',
      message: expect.stringMatching(/of fleet field already/),
    })
    expect((await loadIdentity(stateDir)).fleet).toBe('field')
  })

  it('does not rename a box', async () => {
    await enrol(options(), never)

    await expect(enrol(options({ deviceName: 'other' }), never)).rejects.toMatchObject({ code: 'CONFLICT' })
  })

  it.each([
    ['Größe & Co.', 'gr-e-co'],
    ['---', 'device'],
    ['x'.repeat(80), 'x'.repeat(48)],
  ])('makes a topic-safe id of the name %j', async (deviceName, slug) => {
    const { deviceId, fingerprint } = await enrol(options({ deviceName }), never)

    expect(deviceId).toBe(`${slug}-${fingerprint.slice(0, 8)}`)
  })
})

describe('agent.json', () => {
  it('that is damaged is named with its faults', async () => {
    await enrol(options(), never)
    const identity = await loadIdentity(stateDir)
    await saveIdentity(stateDir, { ...identity, brokerUrl: 'http://x', colour: 'red' } as typeof identity)

    const refusal = loadIdentity(stateDir)
    await expect(refusal).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
    await expect(refusal).rejects.toThrow(/agent\.json:[\s\S]*brokerUrl[\s\S]*|colour/)
    expect(await readFile(join(stateDir, 'agent.json'), 'utf8')).toContain('colour')
  })

  it('that is missing says what to do', async () => {
    await expect(loadIdentity(stateDir)).rejects.toThrow(/edgefit-agent enrol/)
  })
})
