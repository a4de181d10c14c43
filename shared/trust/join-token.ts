import { createHash, randomBytes } from 'node:crypto'
import * as z from 'zod'
import { EdgefitError } from '../errors.ts'
import { Name } from '../model/index.ts'
import { parseJsonWith } from '../parse.ts'

const PREFIX = 'edgefit-join-'

/**
 * What a box needs to ask for enrolment, carried by hand. It pins the controller's key, so that nothing met on the
 * wire is trusted at first sight. `secret` opens the enrolment topics and nothing else.
 */
export const JoinToken = z.strictObject({
  v: z.literal(1),
  fleet: Name,
  /** `mqtt://host:port` or `mqtts://host:port`. */
  brokerUrl: z.url({ protocol: /^mqtts?$/, error: 'must be an address like mqtts://broker.example:8883' }),
  /** As {@link keyFingerprint} gives it. */
  controllerKeyFingerprint: z.string().regex(/^[0-9a-f]{64}$/),
  secret: z.string().regex(/^[A-Za-z0-9_-]{22,64}$/),
  /** PEM of the CA that signed the broker's certificate, where the system does not know it. */
  ca: z.string().startsWith('-----BEGIN CERTIFICATE-----').optional(),
  expiresAtMs: z.int().optional(),
})
export type JoinToken = z.infer<typeof JoinToken>

export function encodeJoinToken(token: JoinToken): string {
  return PREFIX + Buffer.from(JSON.stringify(token)).toString('base64url')
}

/** @throws EdgefitError INPUT_INVALID that names the faulty field; the secret is never part of the message. */
export function decodeJoinToken(text: string): JoinToken {
  const trimmed = text.trim()
  if (!trimmed.startsWith(PREFIX) || !/^[A-Za-z0-9_-]+$/.test(trimmed))
    throw new EdgefitError(`join token: must be one unbroken line that starts with "${PREFIX}"; copy it whole`, {
      code: 'INPUT_INVALID',
    })
  const json = Buffer.from(trimmed.slice(PREFIX.length), 'base64url').toString()
  return parseJsonWith(JoinToken, json, 'join token (copy it whole, or ask for a new one)', 'INPUT_INVALID')
}

/** 256 random bits in base64url. */
export function createJoinSecret(): string {
  return randomBytes(32).toString('base64url')
}

/** What the controller keeps of a secret. A plain hash is enough, as the secret is random and long. */
export function hashJoinSecret(secret: string): string {
  return createHash('sha256').update(secret).digest('hex')
}
