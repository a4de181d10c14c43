import { createHash } from 'node:crypto'
import { type ErrorCode, isEdgefitError } from '@edgefit/shared'
import { Name } from '@edgefit/shared/model'
import { type DesiredState, decodeDocument } from '@edgefit/shared/protocol'
import { verifyDocument } from '@edgefit/shared/trust'
import * as z from 'zod'
import type { AgentDatabase } from '../store/database.ts'
import type { AgentIdentity } from './identity.ts'

export type DesiredOutcome =
  /** `changed` is false where this very state was accepted before: it is handed on all the same, for a restart may have come between. */
  | { readonly kind: 'accepted'; readonly state: DesiredState; readonly changed: boolean }
  | {
      readonly kind: 'refused'
      readonly code: ErrorCode
      readonly message: string
      /** Deployments that a state of another protocol version names, as far as they can be made out. */
      readonly deployments: readonly NamedDeployment[]
    }

interface NamedDeployment {
  readonly slot: string
  readonly deploymentId: string
  readonly attempt: number
}

export interface DesiredGate {
  /** Judges one message of `down/desired`; what is accepted is on record when the promise resolves. */
  judge(jws: string): Promise<DesiredOutcome>
  /** The highest version accepted so far, or 0. */
  version(): Promise<number>
}

export interface DesiredGateOptions {
  readonly db: AgentDatabase
  readonly identity: Pick<AgentIdentity, 'fleet' | 'deviceId' | 'controllerKey'>
  readonly now: () => number
}

const FACT = 'desired.accepted'
/** How far the controller's clock may be behind this one. */
const CLOCK_SKEW_MS = 120_000
const Accepted = z.object({ version: z.int(), digest: z.string() })
const Named = z
  .string()
  .transform((text, context): unknown => {
    try {
      return JSON.parse(text)
    } catch {
      context.addIssue('not valid JSON')
      return z.NEVER
    }
  })
  .pipe(z.object({ slots: z.record(Name, z.object({ deploymentId: Name, attempt: z.int().positive() })) }))

/**
 * Lets through only what the controller has signed, for this device, and not older than what came before: TUF's
 * rollback and freeze attacks.
 */
export function createDesiredGate({ db, identity, now }: DesiredGateOptions): DesiredGate {
  async function accepted(): Promise<z.infer<typeof Accepted>> {
    const row = await db.selectFrom('facts').select('value').where('key', '=', FACT).executeTakeFirst()
    return row === undefined ? { version: 0, digest: '' } : Accepted.parse(JSON.parse(row.value))
  }

  async function record(value: string): Promise<void> {
    await db
      .insertInto('facts')
      .values({ key: FACT, value })
      .onConflict((conflict) => conflict.column('key').doUpdateSet({ value }))
      .execute()
  }

  return {
    async judge(jws) {
      let payload: Uint8Array | undefined
      try {
        payload = await verifyDocument(jws, 'desired', identity.controllerKey)
        const state = decodeDocument('desired', payload)
        const fault = addressFault(state, identity)
        if (fault !== undefined) return refused('SIGNATURE_INVALID', fault)
        if (state.expiresAtMs + CLOCK_SKEW_MS < now())
          return refused(
            'VERSION_REPLAYED',
            `desired state ${state.version} has expired; compare the clocks if it is new`,
          )
        const digest = createHash('sha256').update(payload).digest('hex')
        const before = await accepted()
        if (state.version === before.version && digest === before.digest)
          return { kind: 'accepted', state, changed: false }
        if (state.version <= before.version)
          return refused(
            'VERSION_REPLAYED',
            `desired state ${state.version} is not newer than ${before.version}, which was accepted before`,
          )
        await record(JSON.stringify({ version: state.version, digest }))
        return { kind: 'accepted', state, changed: true }
      } catch (error) {
        if (!isEdgefitError(error)) throw error
        const deployments = payload === undefined ? [] : namedDeployments(payload)
        return { kind: 'refused', code: error.code, message: error.message, deployments }
      }
    },
    version: async () => (await accepted()).version,
  }
}

function refused(code: ErrorCode, message: string): DesiredOutcome {
  return { kind: 'refused', code, message, deployments: [] }
}

function addressFault(state: DesiredState, { fleet, deviceId }: DesiredGateOptions['identity']): string | undefined {
  if (state.fleet === fleet && state.device === deviceId) return undefined
  return `desired state for ${state.fleet}/${state.device} came to ${fleet}/${deviceId}`
}

function namedDeployments(payload: Uint8Array): readonly NamedDeployment[] {
  const named = Named.safeParse(Buffer.from(payload).toString())
  if (!named.success) return []
  return Object.entries(named.data.slots).map(([slot, { deploymentId, attempt }]) => ({ slot, deploymentId, attempt }))
}
