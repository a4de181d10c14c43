import { EdgefitError } from '@edgefit/shared'
import { decodeDocument, type EnrolReply, encodeDocument, PROTOCOL_VERSION } from '@edgefit/shared/protocol'
import { keyFingerprint, type SigningKey, signIntroduction, verifyIntroduction } from '@edgefit/shared/trust'
import type { DeviceState } from '../store/index.ts'
import type { DeviceDirectory } from './ports.ts'

export interface EnrolmentOptions {
  readonly key: SigningKey
  readonly directory: Pick<DeviceDirectory, 'enrol'>
}

export interface Enrolment {
  /**
   * Files a signed request that came on the topic of `device` and gives the signed reply.
   *
   * @throws EdgefitError SIGNATURE_INVALID, PROTOCOL_INVALID, PROTOCOL_UNSUPPORTED; AUTH_REFUSED for a name that
   * does not go with the key.
   */
  receive(device: string, request: string): Promise<string>
  /** An operator has decided: the reply to the newest request of a device that waits, if there is one. */
  decide(device: string, state: DeviceState): Promise<string | undefined>
}

/** Nonces kept of devices that wait; one that is dropped asks again anyway. */
const MAX_WAITING = 1_000

export function createEnrolment({ key, directory }: EnrolmentOptions): Enrolment {
  const waiting = new Map<string, string>()

  function sign(reply: Omit<EnrolReply, 'v'>): Promise<string> {
    return signIntroduction(key, 'enrol-reply', encodeDocument('enrol-reply', { v: PROTOCOL_VERSION, ...reply }))
  }

  return {
    async receive(device, request) {
      const { payload, signer } = await verifyIntroduction(request, 'enrol-request')
      const { nonce, labels, agentVersion, ...asked } = decodeDocument('enrol-request', payload)
      if (asked.device !== device)
        throw new EdgefitError(`enrolment of ${asked.device} on the topic of ${device}`, { code: 'PROTOCOL_INVALID' })
      // The name ends with the key's first digits, so that nobody can occupy the name of a box still to come.
      if (!device.endsWith(`-${keyFingerprint(signer).slice(0, 8)}`))
        throw new EdgefitError(`enrolment of ${device}: the name does not end with the key's fingerprint`, {
          code: 'AUTH_REFUSED',
        })
      const state = await directory.enrol({ device, publicKey: signer, labels, agentVersion })
      waiting.delete(device)
      if (state === 'pending') {
        waiting.set(device, nonce)
        const [oldest] = waiting.keys()
        if (waiting.size > MAX_WAITING && oldest !== undefined) waiting.delete(oldest)
      }
      return sign({ device, nonce, state })
    },
    async decide(device, state) {
      const nonce = waiting.get(device)
      waiting.delete(device)
      return nonce === undefined ? undefined : await sign({ device, nonce, state })
    },
  }
}
