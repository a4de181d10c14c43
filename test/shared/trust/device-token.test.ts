import { createDeviceToken, generateSigningKey, signDocument, verifyDeviceToken } from '@edgefit/shared/trust'
import { SignJWT, UnsecuredJWT } from 'jose'
import { describe, expect, it } from 'vitest'

const key = generateSigningKey()
const nowMs = Date.UTC(2030, 0, 1)
const subject = { fleet: 'lab', device: 'pi-0a1b2c3d' }
const expected = { ...subject, publicKey: key.publicKey, nowMs }
const token = (over: Partial<Parameters<typeof createDeviceToken>[1]> = {}): Promise<string> =>
  createDeviceToken(key, { ...subject, id: 'first-use-1', nowMs, ...over })

describe('device tokens', () => {
  it('are accepted with their id and the moment they become worthless', async () => {
    expect(await verifyDeviceToken(await token(), expected)).toEqual({
      id: 'first-use-1',
      uselessAfterMs: nowMs + 420_000,
    })
  })

  it('become worthless with their age, whatever end they claim', async () => {
    const eternal = await new SignJWT()
      .setProtectedHeader({ alg: 'EdDSA', typ: 'edgefit-sign-in+jwt' })
      .setSubject(subject.device)
      .setAudience('edgefit:lab')
      .setIssuedAt(nowMs / 1000)
      .setExpirationTime(nowMs / 1000 + 1e9)
      .setJti('for-ever-1')
      .sign(key.privateKey)

    expect(await verifyDeviceToken(eternal, expected)).toEqual({ id: 'for-ever-1', uselessAfterMs: nowMs + 420_000 })
  })

  it.each([
    ['lived out', { nowMs: nowMs + 421_000 }],
    ['made far in the future', { nowMs: nowMs - 121_000 }],
    ['of another device', { device: 'pi-ffffffff' }],
    ['of another fleet', { fleet: 'field' }],
    ['of another key', { publicKey: generateSigningKey().publicKey }],
  ])('are refused when %s', async (_, difference) => {
    await expect(verifyDeviceToken(await token(), { ...expected, ...difference })).rejects.toThrow(
      expect.objectContaining({ code: 'AUTH_REFUSED' }),
    )
  })

  it.each([
    ['just before its end', nowMs + 419_000],
    ['slightly in the future', nowMs - 119_000],
  ])('are accepted %s, as clocks differ', async (_, atMs) => {
    await expect(verifyDeviceToken(await token(), { ...expected, nowMs: atMs })).resolves.toBeDefined()
  })

  it('say that clocks may differ when out of their time', async () => {
    const refusal = verifyDeviceToken(await token(), { ...expected, nowMs: nowMs + 3_600_000 })

    await expect(refusal).rejects.toThrow(/compare the clocks/)
  })

  it('cannot be given a longer life by the device', async () => {
    const nowS = nowMs / 1000
    const long = await new SignJWT()
      .setProtectedHeader({ alg: 'EdDSA', typ: 'edgefit-sign-in+jwt' })
      .setSubject(subject.device)
      .setAudience('edgefit:lab')
      .setIssuedAt(nowS - 3600)
      .setExpirationTime(nowS + 86_400)
      .setJti('long-lived')
      .sign(key.privateKey)

    await expect(verifyDeviceToken(long, expected)).rejects.toThrow(expect.objectContaining({ code: 'AUTH_REFUSED' }))
  })

  it.each([
    ['unsigned', async () => new UnsecuredJWT({ jti: 'x'.repeat(8) }).setSubject(subject.device).encode()],
    ['a signed document', () => signDocument(key, 'reports', Buffer.from('{}'))],
    ['empty', async () => ''],
  ])('do not include %s', async (_, make) => {
    await expect(verifyDeviceToken(await make(), expected)).rejects.toThrow(
      expect.objectContaining({ code: 'AUTH_REFUSED' }),
    )
  })
})
