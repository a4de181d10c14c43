import { setTimeout as sleep } from 'node:timers/promises'
import { EdgefitError, isEdgefitError } from '@edgefit/shared'
import type { Labels } from '@edgefit/shared/model'
import type { EnrolReply } from '@edgefit/shared/protocol'
import { decodeJoinToken, type JoinToken, keyFingerprint, loadOrCreateSigningKey } from '@edgefit/shared/trust'
import type { Logger } from 'pino'
import { type Backoff, backoffDelayMs } from './backoff.ts'
import { type Candidate, type EnrolAnswer, exchangeEnrolment } from './enrol-exchange.ts'
import { deviceKeyPath, findIdentity, type SignIn, saveIdentity } from './identity.ts'

export interface EnrolOptions {
  /** A join token, as the controller printed it. */
  readonly token: string
  /** The first part of the device id; the box's host name, say. */
  readonly deviceName: string
  readonly stateDir: string
  readonly labels: Labels
  readonly agentVersion: string
  /** Stay until the operator has decided. Without it the first answer is enough. */
  readonly wait: boolean
  /** Called once when an answer says that the operator has yet to decide. */
  readonly onPending?: (result: EnrolResult) => void
  /** How to sign in at a broker that is not the controller's own. */
  readonly signIn?: SignIn
  readonly now: () => number
  readonly random: () => number
  readonly log: Logger
  readonly timing?: Partial<EnrolTiming>
}

interface EnrolTiming {
  /** Enrolment that does not wait for the operator gives up after so long without an answer. */
  readonly giveUpAfterMs: number
  /** Between two requests. */
  readonly askEveryMs: number
  readonly reconnect: Backoff
}

export interface EnrolResult {
  readonly state: EnrolReply['state']
  readonly deviceId: string
  /** Of the device's key: the operator compares it with what the controller shows. */
  readonly fingerprint: string
}

const TIMING: EnrolTiming = {
  giveUpAfterMs: 60_000,
  askEveryMs: 15_000,
  reconnect: { baseMs: 1_000, capMs: 30_000 },
}

/**
 * Makes the device's key, asks for enrolment, and writes `agent.json` as soon as the controller that the token names
 * has answered. Running it again asks again, with the same key and id.
 *
 * @throws EdgefitError INPUT_INVALID for a token that cannot be read; CONFLICT where the box belongs to another fleet
 *   or carries another name; AUTH_REFUSED where the token is not, or no longer, good; SIGNATURE_INVALID where someone
 *   else than the token's controller answers; UNAVAILABLE.
 */
export async function enrol(options: EnrolOptions, signal: AbortSignal): Promise<EnrolResult> {
  const { stateDir, labels, agentVersion, wait, onPending, now, signIn = { kind: 'device-key' } } = options
  const token = decodeJoinToken(options.token)
  if (token.expiresAtMs !== undefined && token.expiresAtMs < now())
    throw new EdgefitError('the join token has expired: ask for a new one, or set the clock if it is wrong', {
      code: 'AUTH_REFUSED',
    })
  const key = await loadOrCreateSigningKey(deviceKeyPath(stateDir))
  const fingerprint = keyFingerprint(key.publicKey)
  const deviceId = `${slugOf(options.deviceName)}-${fingerprint.slice(0, 8)}`
  await assertSameIdentity(stateDir, token, deviceId)

  let pending = false
  async function accept({ state, controllerKey }: EnrolAnswer): Promise<boolean> {
    const { fleet, brokerUrl, ca } = token
    const identity = { v: 1, fleet, deviceId, brokerUrl, controllerKey, labels, signIn } as const
    await saveIdentity(stateDir, ca === undefined ? identity : { ...identity, ca })
    if (state === 'pending' && !pending) onPending?.({ state, deviceId, fingerprint })
    pending = state === 'pending'
    return !wait || !pending
  }

  const candidate: Candidate = { token, key, deviceId, labels, agentVersion, signIn }
  const { state } = await askUntilAnswered(candidate, options, accept, signal)
  return { state, deviceId, fingerprint }
}

/** Lower-case letters, digits and single dashes, for the first part of a device id. */
function slugOf(name: string): string {
  const slug = name
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .slice(0, 48)
    .replace(/^-+|-+$/g, '')
  return slug === '' ? 'device' : slug
}

async function assertSameIdentity(stateDir: string, token: JoinToken, deviceId: string): Promise<void> {
  const known = await findIdentity(stateDir)
  if (known === undefined) return
  const sameController = keyFingerprint(known.controllerKey) === token.controllerKeyFingerprint
  if (known.fleet === token.fleet && known.deviceId === deviceId && sameController) return
  throw new EdgefitError(
    `this box is ${known.deviceId} of fleet ${known.fleet} already; to move or rename it, decommission it there and ` +
      `remove ${stateDir}`,
    { code: 'CONFLICT', details: { known: known.deviceId, asked: deviceId, fleet: token.fleet } },
  )
}

/** Over as many connections as it takes. */
async function askUntilAnswered(
  candidate: Candidate,
  { wait, now, random, log, ...options }: EnrolOptions,
  accept: (answer: EnrolAnswer) => Promise<boolean>,
  signal: AbortSignal,
): Promise<EnrolAnswer> {
  const timing = { ...TIMING, ...options.timing }
  const giveUpAtMs = wait ? Number.POSITIVE_INFINITY : now() + timing.giveUpAfterMs
  for (let failures = 0; ; failures += 1) {
    try {
      return await exchangeEnrolment(candidate, timing, accept, signal)
    } catch (error) {
      if (isEdgefitError(error, 'AUTH_REFUSED'))
        throw new EdgefitError('the join token is not accepted: it is used up, expired or of another fleet', {
          code: 'AUTH_REFUSED',
          cause: error,
        })
      if (!isEdgefitError(error, 'UNAVAILABLE') || now() >= giveUpAtMs) throw error
      log.warn({ err: error }, 'no answer to the enrolment request yet; trying again')
    }
    await sleep(backoffDelayMs(failures, timing.reconnect, random), undefined, { signal })
  }
}
