import { decodeDocument, encodeDocument } from '@edgefit/shared/protocol'
import {
  generateSigningKey,
  keyFingerprint,
  type SigningKey,
  signDocument,
  signIntroduction,
  verifyIntroduction,
} from '@edgefit/shared/trust'
import { beforeEach, describe, expect, it } from 'vitest'
import { createEnrolment, type Enrolment } from '../../../controller/link/enrolment.ts'
import { type MemoryDirectory, memoryDirectory } from '../../support/link.ts'

const controllerKey = generateSigningKey()
const key = generateSigningKey()
const device = `pi-${keyFingerprint(key.publicKey).slice(0, 8)}`
let directory: MemoryDirectory
let enrolment: Enrolment

beforeEach(() => {
  directory = memoryDirectory()
  enrolment = createEnrolment({ key: controllerKey, directory })
})

function request(by: SigningKey = key, named = device, nonce = 'nonce-0001'): Promise<string> {
  const document = encodeDocument('enrol-request', { v: 1, device: named, labels: {}, agentVersion: '0.1.0', nonce })
  return signIntroduction(by, 'enrol-request', document)
}

async function read(reply: string | undefined) {
  const { payload, signer } = await verifyIntroduction(reply ?? '', 'enrol-reply')
  expect(signer).toBe(controllerKey.publicKey)
  return decodeDocument('enrol-reply', payload)
}

describe('enrolment', () => {
  it('files a new device and answers its nonce with the signature the token promises', async () => {
    const reply = await read(await enrolment.receive(device, await request()))

    expect(reply).toEqual({ v: 1, device, nonce: 'nonce-0001', state: 'pending' })
    expect(directory.devices.get(device)).toEqual({ state: 'pending', publicKey: key.publicKey })
  })

  it('answers the same for a request that comes twice, and the newest nonce once it is decided', async () => {
    await enrolment.receive(device, await request())
    await enrolment.receive(device, await request(key, device, 'nonce-0002'))

    const decision = await read(await enrolment.decide(device, 'accepted'))

    expect(decision).toMatchObject({ nonce: 'nonce-0002', state: 'accepted' })
    expect(await enrolment.decide(device, 'accepted')).toBeUndefined()
  })

  it('has nothing to say to a device that does not wait', async () => {
    expect(await enrolment.decide(device, 'accepted')).toBeUndefined()
  })

  it('turns another key away from a name that is taken', async () => {
    directory.devices.set(device, { state: 'accepted', publicKey: generateSigningKey().publicKey })

    const reply = await read(await enrolment.receive(device, await request()))

    expect(reply.state).toBe('rejected')
  })

  it('refuses a name that does not carry the fingerprint of its key', async () => {
    const asked = request(key, 'pi-00000000')

    await expect(enrolment.receive('pi-00000000', await asked)).rejects.toMatchObject({ code: 'AUTH_REFUSED' })
    expect(directory.devices.size).toBe(0)
  })

  it('refuses a request on the topic of another device', async () => {
    await expect(enrolment.receive('pi-b', await request())).rejects.toMatchObject({ code: 'PROTOCOL_INVALID' })
  })

  it.each([
    ['no signature', async () => 'hello'],
    ['a signature without its key', () => signDocument(key, 'enrol-request', Buffer.from('{}'))],
    ['another kind of document', () => signIntroduction(key, 'reports', Buffer.from('{}'))],
  ])('refuses %s', async (_, make) => {
    await expect(enrolment.receive(device, await make())).rejects.toMatchObject({ code: 'SIGNATURE_INVALID' })
  })
})
