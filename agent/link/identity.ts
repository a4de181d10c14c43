import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { EdgefitError, parseJsonWith } from '@edgefit/shared'
import { Labels, Name } from '@edgefit/shared/model'
import { readIfPresent, writePrivateFile } from '@edgefit/shared/trust'
import * as z from 'zod'

/** How the agent signs in at the broker. */
export const SignIn = z.discriminatedUnion('kind', [
  /** With a short-lived token made with the device's key: the controller's own broker. */
  z.strictObject({ kind: z.literal('device-key') }),
  /** With what the operator of another broker has set up for it. The device id should be the user name. */
  z.strictObject({ kind: z.literal('password'), username: z.string().min(1), password: z.string().min(1) }),
  /** Mutual TLS. Paths of PEM files, read anew at each connection so that a renewed certificate is picked up. */
  z.strictObject({ kind: z.literal('certificate'), certFile: z.string().min(1), keyFile: z.string().min(1) }),
])
export type SignIn = z.infer<typeof SignIn>

/** `agent.json` in the state folder, written by enrolment. Strict: a misspelt key is an error. */
export const AgentIdentity = z.strictObject({
  v: z.literal(1),
  fleet: Name,
  deviceId: Name,
  brokerUrl: z.url({ protocol: /^mqtts?$/, error: 'must be an address like mqtts://broker.example:8883' }),
  /** PEM of the CA that signed the broker's certificate, where the system does not know it. */
  ca: z.string().optional(),
  /** Ed25519, the JWK `x` value: goals must be signed by it. */
  controllerKey: z.string().regex(/^[A-Za-z0-9_-]{43}$/),
  labels: Labels,
  signIn: SignIn,
})
export type AgentIdentity = z.infer<typeof AgentIdentity>

export function deviceKeyPath(stateDir: string): string {
  return join(stateDir, 'device-key.pem')
}

function identityPath(stateDir: string): string {
  return join(stateDir, 'agent.json')
}

/**
 * `undefined` where the box was never enrolled.
 *
 * @throws EdgefitError CONFIG_INVALID
 */
export async function findIdentity(stateDir: string): Promise<AgentIdentity | undefined> {
  const path = identityPath(stateDir)
  const text = await readIfPresent(path)
  return text === undefined ? undefined : parseJsonWith(AgentIdentity, text, path, 'CONFIG_INVALID')
}

/** @throws EdgefitError CONFIG_INVALID, NOT_FOUND */
export async function loadIdentity(stateDir: string): Promise<AgentIdentity> {
  const identity = await findIdentity(stateDir)
  if (identity === undefined)
    throw new EdgefitError(`${stateDir} holds no agent.json: enrol the box first with "edgefit-agent enrol"`, {
      code: 'NOT_FOUND',
    })
  return identity
}

export async function saveIdentity(stateDir: string, identity: AgentIdentity): Promise<void> {
  await writePrivateFile(identityPath(stateDir), `${JSON.stringify(identity, null, 2)}\n`)
}

/** The client certificate of mutual TLS, or nothing for the other ways. */
export async function readCertificate(
  signIn: SignIn,
): Promise<{ readonly cert: string; readonly key: string } | object> {
  if (signIn.kind !== 'certificate') return {}
  const [cert, key] = await Promise.all([readPem('certFile', signIn.certFile), readPem('keyFile', signIn.keyFile)])
  return { cert, key }
}

async function readPem(field: string, path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (cause) {
    throw new EdgefitError(`agent.json: signIn.${field}: cannot read ${path}`, { code: 'CONFIG_INVALID', cause })
  }
}
