import { randomUUID } from 'node:crypto'
import { EdgefitError } from '@edgefit/shared'
import type { Labels } from '@edgefit/shared/model'
import {
  CANDIDATE_CLIENT_PREFIX,
  CANDIDATE_USER,
  decodeDocument,
  type EnrolReply,
  encodeDocument,
  formatTopic,
  PROTOCOL_VERSION,
} from '@edgefit/shared/protocol'
import {
  type JoinToken,
  keyFingerprint,
  type SigningKey,
  signIntroduction,
  verifyIntroduction,
} from '@edgefit/shared/trust'
import { createBell } from './bell.ts'
import { type BrokerConnection, type ConnectRequest, openConnection } from './broker-connection.ts'
import { readCertificate, type SignIn } from './identity.ts'

/** A box that asks to be enrolled. */
export interface Candidate {
  readonly token: JoinToken
  readonly key: SigningKey
  readonly deviceId: string
  readonly labels: Labels
  readonly agentVersion: string
  readonly signIn: SignIn
}

export interface EnrolAnswer {
  readonly state: EnrolReply['state']
  /** The key that signed the answer; its fingerprint is the token's. */
  readonly controllerKey: string
}

export interface ExchangeLimits {
  readonly askEveryMs: number
  readonly giveUpAfterMs: number
}

/**
 * Asks over one connection, again and again, and hands each answer to `accept` until that returns true.
 *
 * @throws EdgefitError SIGNATURE_INVALID where an answer is not the token's controller's; UNAVAILABLE when the
 *   connection ends, or no answer has come in time; what {@link openConnection} throws.
 */
export async function exchangeEnrolment(
  candidate: Candidate,
  limits: ExchangeLimits,
  accept: (answer: EnrolAnswer) => Promise<boolean>,
  signal: AbortSignal,
): Promise<EnrolAnswer> {
  const { token, deviceId: device } = candidate
  const replyTopic = formatTopic({ kind: 'enrol-down', fleet: token.fleet, device })
  const replies: string[] = []
  const arrived = createBell()
  const connection = await openConnection(
    await connectRequest(candidate),
    (topic, payload) => {
      if (topic !== replyTopic) return
      replies.push(payload.toString())
      arrived.ring()
    },
    signal,
  )
  const over = new AbortController()
  const stop = (): void => over.abort()
  signal.addEventListener('abort', stop, { once: true })
  void connection.ended.then(stop)
  // Of this connection: an answer that was recorded earlier is not one.
  const nonce = randomUUID()
  try {
    await connection.subscribe([replyTopic], 1)
    for (let silentMs = 0; silentMs < limits.giveUpAfterMs && !over.signal.aborted; silentMs += limits.askEveryMs) {
      await publishRequest(connection, candidate, nonce)
      while (await arrived.wait(limits.askEveryMs, over.signal)) {
        silentMs = 0
        for (const reply of replies.splice(0)) {
          const answer = await readReply(reply, candidate, nonce)
          if (answer !== undefined && (await accept(answer))) return answer
        }
      }
    }
    signal.throwIfAborted()
    throw new EdgefitError('the controller does not answer: is it running, and is the join token its own?', {
      code: 'UNAVAILABLE',
    })
  } finally {
    signal.removeEventListener('abort', stop)
    await connection.close()
  }
}

async function connectRequest({ token, deviceId, signIn }: Candidate): Promise<ConnectRequest> {
  const { brokerUrl: url, ca, secret } = token
  const request = {
    url,
    clientId: CANDIDATE_CLIENT_PREFIX + deviceId,
    username: CANDIDATE_USER,
    password: secret,
    ...(ca === undefined ? {} : { ca }),
  }
  if (signIn.kind === 'password') return { ...request, username: signIn.username, password: signIn.password }
  return { ...request, ...(await readCertificate(signIn)) }
}

async function publishRequest(connection: BrokerConnection, candidate: Candidate, nonce: string): Promise<void> {
  const { token, key, deviceId: device, labels, agentVersion } = candidate
  const request = encodeDocument('enrol-request', { v: PROTOCOL_VERSION, device, labels, agentVersion, nonce })
  const topic = formatTopic({ kind: 'enrol-up', fleet: token.fleet, device })
  await connection.publish(topic, Buffer.from(await signIntroduction(key, 'enrol-request', request)))
}

/** `undefined`: the reply to another request. */
async function readReply(jws: string, { token, deviceId }: Candidate, nonce: string): Promise<EnrolAnswer | undefined> {
  const { payload, signer } = await verifyIntroduction(jws, 'enrol-reply')
  const fingerprint = keyFingerprint(signer)
  if (fingerprint !== token.controllerKeyFingerprint)
    throw new EdgefitError(
      'the controller that answers is not the one the join token names: check the broker address, or ask for a new token',
      { code: 'SIGNATURE_INVALID', details: { expected: token.controllerKeyFingerprint, actual: fingerprint } },
    )
  const reply = decodeDocument('enrol-reply', payload)
  return reply.nonce === nonce && reply.device === deviceId ? { state: reply.state, controllerKey: signer } : undefined
}
