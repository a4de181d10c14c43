import { createJoinSecret, decodeJoinToken, encodeJoinToken, hashJoinSecret } from '@edgefit/shared/trust'
import { describe, expect, it } from 'vitest'

const token = {
  v: 1,
  fleet: 'lab',
  brokerUrl: 'mqtts://controller.lab:8883',
  controllerKeyFingerprint: 'a'.repeat(64),
  secret: createJoinSecret(),
  ca: '-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n',
  expiresAtMs: 1_800_000_000_000,
} as const

describe('join tokens', () => {
  it('come back as they were, with or without the optional parts', () => {
    const { ca: _ca, expiresAtMs: _expiresAtMs, ...small } = token

    expect(decodeJoinToken(encodeJoinToken(token))).toEqual(token)
    expect(decodeJoinToken(`  ${encodeJoinToken(small)}\n`)).toEqual(small)
  })

  it('travel as one word that a shell leaves alone', () => {
    expect(encodeJoinToken(token)).toMatch(/^edgefit-join-[A-Za-z0-9_-]+$/)
  })

  it.each([
    ['something else', 'hello', /starts with "edgefit-join-"/],
    ['a broken line', encodeJoinToken(token).replace(/^(.{80})/, '$1\n'), /one unbroken line/],
    ['a cut end', encodeJoinToken(token).slice(0, -9), /not valid JSON/],
    ['a wrong field', encodeJoinToken({ ...token, brokerUrl: 'http://controller.lab' }), /at brokerUrl/],
    ['an unknown field', encodeJoinToken({ ...token, admin: true } as typeof token), /admin/],
  ])('with %s are refused and named, without the secret', (_, text, message) => {
    const refusal = (): unknown => decodeJoinToken(text)

    expect(refusal).toThrow(expect.objectContaining({ code: 'INPUT_INVALID' }))
    expect(refusal).toThrow(message)
    expect(refusal).not.toThrow(token.secret)
  })

  it('are kept as a hash that another secret does not have', () => {
    expect(hashJoinSecret(token.secret)).toBe(hashJoinSecret(token.secret))
    expect(hashJoinSecret(token.secret)).not.toBe(hashJoinSecret(createJoinSecret()))
    expect(hashJoinSecret(token.secret)).toMatch(/^[0-9a-f]{64}$/)
  })
})
