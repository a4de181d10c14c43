import { errors, jwtVerify, SignJWT } from 'jose'
import * as z from 'zod'
import { EdgefitError } from '../errors.ts'
import { importPublicKey, type SigningKey } from './keys.ts'

const LIFE_S = 300
/** How far a device's clock and the controller's may lie apart. */
const CLOCK_SKEW_S = 120
const TYPE = 'edgefit-sign-in+jwt'

const Claims = z.object({ jti: z.string().min(8).max(64), iat: z.int(), exp: z.int() })

export interface DeviceTokenSubject {
  readonly fleet: string
  readonly device: string
}

/** The MQTT password of one sign-in: a JWT (EdDSA) that lives for five minutes. `id` is random and used once. */
export function createDeviceToken(
  key: SigningKey,
  { fleet, device, id, nowMs }: DeviceTokenSubject & { readonly id: string; readonly nowMs: number },
): Promise<string> {
  const issuedAtS = Math.floor(nowMs / 1000)
  return new SignJWT()
    .setProtectedHeader({ alg: 'EdDSA', typ: TYPE })
    .setSubject(device)
    .setAudience(audience(fleet))
    .setIssuedAt(issuedAtS)
    .setExpirationTime(issuedAtS + LIFE_S)
    .setJti(id)
    .sign(key.privateKey)
}

/**
 * @returns the token's id and the moment from which it is worthless, for a caller that refuses a second use.
 * @throws EdgefitError AUTH_REFUSED: another key, device or fleet, malformed, or out of its time.
 */
export async function verifyDeviceToken(
  token: string,
  { publicKey, fleet, device, nowMs }: DeviceTokenSubject & { readonly publicKey: string; readonly nowMs: number },
): Promise<{ readonly id: string; readonly uselessAfterMs: number }> {
  try {
    const { payload } = await jwtVerify(token, importPublicKey(publicKey), {
      algorithms: ['EdDSA'],
      typ: TYPE,
      subject: device,
      audience: audience(fleet),
      requiredClaims: ['iat', 'exp', 'jti'],
      maxTokenAge: LIFE_S,
      clockTolerance: CLOCK_SKEW_S,
      currentDate: new Date(nowMs),
    })
    const { jti, iat, exp } = Claims.parse(payload)
    // A device may claim any expiry; what counts is the age.
    return { id: jti, uselessAfterMs: (Math.min(exp, iat + LIFE_S) + CLOCK_SKEW_S) * 1000 }
  } catch (cause) {
    throw new EdgefitError(`device ${device}: sign-in refused: ${explain(cause)}`, { code: 'AUTH_REFUSED', cause })
  }
}

function explain(cause: unknown): string {
  if (cause instanceof errors.JWTExpired || (cause instanceof errors.JWTClaimValidationFailed && cause.claim === 'iat'))
    return 'the token is out of its time; compare the clocks of device and controller'
  if (cause instanceof errors.JWSSignatureVerificationFailed) return 'it is signed by another key than the enrolled one'
  if (cause instanceof errors.JWTClaimValidationFailed) return `the claim "${cause.claim}" is not as expected`
  return 'it is not a sign-in token'
}

function audience(fleet: string): string {
  return `edgefit:${fleet}`
}
