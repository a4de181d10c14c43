import {
  createDeviceToken,
  generateSigningKey,
  SIGNED_DOCUMENTS,
  signDocument,
  signIntroduction,
  verifyDocument,
  verifyIntroduction,
} from '@edgefit/shared/trust'
import { CompactSign } from 'jose'
import { describe, expect, it } from 'vitest'

const key = generateSigningKey()
const payload = Buffer.from('{"v":1,"text":"käfer"}')
const invalid = expect.objectContaining({ code: 'SIGNATURE_INVALID' })

describe('signed documents', () => {
  it.each(SIGNED_DOCUMENTS)('of kind %s give back the very bytes that were signed', async (kind) => {
    const verified = await verifyDocument(await signDocument(key, kind, payload), kind, key.publicKey)

    expect(Buffer.from(verified)).toEqual(payload)
  })

  it('are refused under another kind: an enrolment reply is no goal', async () => {
    const reply = await signDocument(key, 'enrol-reply', payload)

    await expect(verifyDocument(reply, 'desired', key.publicKey)).rejects.toThrow(invalid)
  })

  it('are refused under another key', async () => {
    const jws = await signDocument(key, 'desired', payload)

    await expect(verifyDocument(jws, 'desired', generateSigningKey().publicKey)).rejects.toThrow(invalid)
  })

  it.each([0, 1, 2])('are refused when a character of part %i was changed', async (part) => {
    const parts = (await signDocument(key, 'desired', payload)).split('.')
    const text = parts[part] ?? ''
    parts[part] = text.slice(0, 5) + (text[5] === 'A' ? 'B' : 'A') + text.slice(6)

    await expect(verifyDocument(parts.join('.'), 'desired', key.publicKey)).rejects.toThrow(invalid)
  })

  it.each(['', 'a.b', 'a.b.c', '..'])('do not include %j', async (text) => {
    await expect(verifyDocument(text, 'desired', key.publicKey)).rejects.toThrow(invalid)
  })

  it('do not include a sign-in token of the same key', async () => {
    const token = await createDeviceToken(key, { fleet: 'lab', device: 'pi', id: 'once-only', nowMs: 0 })

    await expect(verifyDocument(token, 'reports', key.publicKey)).rejects.toThrow(invalid)
  })

  it('do not include one signed by a shared secret made of the public key', async () => {
    const secret = Buffer.from(key.publicKey)
    const forged = await new CompactSign(payload)
      .setProtectedHeader({ alg: 'HS256', typ: 'edgefit-desired+jws' })
      .sign(secret)

    await expect(verifyDocument(forged, 'desired', key.publicKey)).rejects.toThrow(invalid)
  })
})

describe('introductions', () => {
  it('name the key that signed them', async () => {
    const { signer, payload: bytes } = await verifyIntroduction(
      await signIntroduction(key, 'enrol-request', payload),
      'enrol-request',
    )

    expect(signer).toBe(key.publicKey)
    expect(Buffer.from(bytes)).toEqual(payload)
  })

  it('cannot claim a key they do not hold', async () => {
    const [, body, signature] = (await signIntroduction(generateSigningKey(), 'enrol-request', payload)).split('.')
    const [header] = (await signIntroduction(key, 'enrol-request', payload)).split('.')

    await expect(verifyIntroduction(`${header}.${body}.${signature}`, 'enrol-request')).rejects.toThrow(invalid)
  })

  it('need the key to travel along', async () => {
    const jws = await signDocument(key, 'enrol-request', payload)

    await expect(verifyIntroduction(jws, 'enrol-request')).rejects.toThrow(invalid)
  })
})
