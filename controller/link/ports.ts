import type { Labels } from '@edgefit/shared/model'
import type { FetchRequest, Presence, ProfileMessage, ReportBatch } from '@edgefit/shared/protocol'
import type { DeviceState } from '../store/index.ts'

/** What the link has to know of a device. */
export interface DeviceIdentity {
  readonly state: DeviceState
  /** Ed25519, the JWK `x` value. */
  readonly publicKey: string
}

/** Fleet state as the link uses it. */
export interface DeviceDirectory {
  findIdentity(device: string): Promise<DeviceIdentity | undefined>
  /** Whether a join token with this hash exists, has not expired, and may be used for this device. */
  admitToken(secretHash: string, device: string): Promise<boolean>
  /**
   * Files a request to join, or answers how an earlier one stands. A name that belongs to another key answers
   * `rejected`.
   */
  enrol(candidate: Candidate): Promise<DeviceState>
}

interface Candidate {
  readonly device: string
  /** Ed25519, the JWK `x` value; the request was signed with it. */
  readonly publicKey: string
  readonly labels: Labels
  readonly agentVersion: string
}

/** What devices say, each message checked for form and (reports, enrolment) signature. */
export interface LinkHandlers {
  /**
   * `retained`: the broker's memory of a birth, not one that happens now. A birth that happens now has to be
   * answered with the goal. Wills come late and out of order: compare the session.
   */
  onPresence(device: string, presence: Presence, retained: boolean): Promise<void>
  onProfile(device: string, message: ProfileMessage): Promise<void>
  /** Resolves, once they are committed, to the sequence numbers to acknowledge. */
  onReports(device: string, batch: ReportBatch): Promise<readonly number[]>
  onFetch(device: string, request: FetchRequest): void
  /** Gives the signed answer to publish, if there is one. */
  onEnrol(device: string, request: string): Promise<string | undefined>
  /** The broker was reached, or lost. */
  onConnection(connected: boolean): void
}
