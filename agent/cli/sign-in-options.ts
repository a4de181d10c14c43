import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { createSecureContext } from 'node:tls'
import { EdgefitError } from '@edgefit/shared'
import type { Command } from 'commander'
import type { SignIn } from '../link/identity.ts'

/** How to sign in at a broker that is not the controller's own. */
export interface SignInFlags {
  readonly brokerUsername?: string
  readonly brokerPasswordFile?: string
  readonly brokerCert?: string
  readonly brokerKey?: string
}

export function addSignInOptions(command: Command): Command {
  return command
    .option('--broker-username <name>', "user name at a broker that is not the controller's own")
    .option('--broker-password-file <file>', 'file that holds its password')
    .option('--broker-cert <file>', 'PEM: client certificate for such a broker; read anew at each connection')
    .option('--broker-key <file>', 'PEM: its key')
}

/**
 * What the flags say; undefined where they say nothing, and the device's own key is enough.
 *
 * @throws EdgefitError USAGE for flags that do not go together, or files that cannot be used
 */
export async function signInOf(flags: SignInFlags): Promise<SignIn | undefined> {
  const { brokerUsername: username, brokerPasswordFile: passwordFile, brokerCert: cert, brokerKey: key } = flags
  if ((username === undefined) !== (passwordFile === undefined))
    throw usage('--broker-username and --broker-password-file go together: give both or neither')
  if ((cert === undefined) !== (key === undefined))
    throw usage('--broker-cert and --broker-key go together: give both or neither')
  if (username !== undefined && cert !== undefined)
    throw usage('--broker-username and --broker-cert exclude each other: keep one way to sign in')
  if (username !== undefined && passwordFile !== undefined) {
    if (username === '') throw usage('--broker-username: must not be empty')
    const password = (await read('--broker-password-file', passwordFile)).replace(/\r?\n$/, '')
    if (password === '')
      throw usage(`--broker-password-file: ${passwordFile} is empty; put the password on its first line`)
    return { kind: 'password', username, password }
  }
  if (cert === undefined || key === undefined) return undefined
  await assertPair(cert, key)
  // The agent runs elsewhere than this command.
  return { kind: 'certificate', certFile: resolve(cert), keyFile: resolve(key) }
}

async function assertPair(certFile: string, keyFile: string): Promise<void> {
  const cert = await read('--broker-cert', certFile)
  const key = await read('--broker-key', keyFile)
  try {
    createSecureContext({ cert, key })
  } catch (cause) {
    throw usage(`--broker-cert, --broker-key: ${certFile} and ${keyFile} must be PEM, and belong together`, cause)
  }
}

async function read(option: string, path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (cause) {
    throw usage(`${option}: cannot read ${path}; check the path and its permissions`, cause)
  }
}

function usage(message: string, cause?: unknown): EdgefitError {
  return new EdgefitError(message, { code: 'USAGE', cause })
}
