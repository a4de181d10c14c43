import { EdgefitError } from '@edgefit/shared'
import { CANDIDATE_CLIENT_PREFIX, CANDIDATE_USER } from '@edgefit/shared/protocol'
import { hashJoinSecret, verifyDeviceToken } from '@edgefit/shared/trust'
import type { Principal } from './authorize.ts'
import type { DeviceDirectory } from './ports.ts'

export interface Credentials {
  readonly clientId: string
  readonly username: string
  readonly password: string
}

/** `bad-credentials` and `not-authorized` are CONNACK codes 4 and 5. */
export type SignInResult =
  | { readonly kind: 'accepted'; readonly principal: Principal }
  | { readonly kind: 'bad-credentials' | 'not-authorized'; readonly why: string }

export interface SignInOptions {
  readonly fleet: string
  readonly directory: Pick<DeviceDirectory, 'findIdentity' | 'admitToken'>
  readonly now: () => number
}

/**
 * Decides who a connection is. The client id is fixed by the identity, so that nobody can take over the connection
 * of someone else; a sign-in token opens one connection only. What a connection was once allowed it keeps until it
 * ends: whoever changes a device's state ends its connection.
 */
export function createSignIn({ fleet, directory, now }: SignInOptions): (sent: Credentials) => Promise<SignInResult> {
  const usedTokens = createUsedTokens()

  async function signInCandidate({ clientId, password }: Credentials): Promise<SignInResult> {
    const device = clientId.slice(CANDIDATE_CLIENT_PREFIX.length)
    if (!clientId.startsWith(CANDIDATE_CLIENT_PREFIX) || device === '')
      return { kind: 'bad-credentials', why: `the client id must be "${CANDIDATE_CLIENT_PREFIX}" and the device id` }
    if (!(await directory.admitToken(hashJoinSecret(password), device)))
      return { kind: 'bad-credentials', why: 'the join token is unknown, used up or out of its time' }
    return { kind: 'accepted', principal: { kind: 'candidate', device } }
  }

  async function signInDevice({ clientId, username: device, password }: Credentials): Promise<SignInResult> {
    if (clientId !== device) return { kind: 'bad-credentials', why: 'client id and user name must be the device id' }
    const identity = await directory.findIdentity(device)
    if (identity?.state !== 'accepted')
      return { kind: 'not-authorized', why: `the device is ${identity?.state ?? 'unknown'}, not accepted` }
    try {
      const { publicKey } = identity
      const token = await verifyDeviceToken(password, { publicKey, fleet, device, nowMs: now() })
      if (!usedTokens.add(`${device} ${token.id}`, token.uselessAfterMs, now()))
        return { kind: 'bad-credentials', why: 'the sign-in token was used before' }
    } catch (error) {
      if (error instanceof EdgefitError) return { kind: 'bad-credentials', why: error.message }
      throw error
    }
    return { kind: 'accepted', principal: { kind: 'device', device } }
  }

  return (sent) => (sent.username === CANDIDATE_USER ? signInCandidate(sent) : signInDevice(sent))
}

/** Remembers ids until they are worthless anyway. */
function createUsedTokens(): { add(id: string, uselessAfterMs: number, nowMs: number): boolean } {
  const used = new Map<string, number>()
  return {
    add(id, uselessAfterMs, nowMs) {
      for (const [old, untilMs] of used) {
        if (untilMs > nowMs) break
        used.delete(old)
      }
      if (used.has(id)) return false
      used.set(id, uselessAfterMs)
      return true
    },
  }
}
