import { execFileSync } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { generateSigningKey, type SigningKey } from '@edgefit/shared/trust'
import pino from 'pino'
import { onTestFinished } from 'vitest'
import type { DeviceDirectory, DeviceIdentity } from '../../controller/link/ports.ts'

export const silentLog = pino({ level: 'silent' })

/** A folder that is gone after the test. */
export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'edgefit-link-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  return folder
}

/** Resolves once `condition` holds. Fails, naming `what`, if that never happens. */
export async function until(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  for (let tries = 0; tries < 1_500; tries += 1) {
    if (await condition()) return
    await new Promise((done) => setTimeout(done, 10))
  }
  throw new Error(`never happened: ${what}`)
}

/** Long enough for something wrong to happen that is about to. */
export function aWhile(): Promise<void> {
  return new Promise((done) => setTimeout(done, 150))
}

export interface MemoryDirectory extends DeviceDirectory {
  readonly devices: Map<string, DeviceIdentity>
  readonly tokenHashes: Set<string>
  add(device: string, state?: DeviceIdentity['state']): SigningKey
}

export function memoryDirectory(): MemoryDirectory {
  const devices = new Map<string, DeviceIdentity>()
  const tokenHashes = new Set<string>()
  return {
    devices,
    tokenHashes,
    add(device, state = 'accepted') {
      const key = generateSigningKey()
      devices.set(device, { state, publicKey: key.publicKey })
      return key
    },
    findIdentity: async (device) => devices.get(device),
    admitToken: async (hash) => tokenHashes.has(hash),
    enrol({ device, publicKey }) {
      const known = devices.get(device) ?? { state: 'pending', publicKey }
      devices.set(device, known)
      return Promise.resolve(known.publicKey === publicKey ? known.state : 'rejected')
    },
  }
}

export interface Certificates {
  readonly ca: string
  readonly caFile: string
  /** Issues a certificate for 127.0.0.1 and localhost, or one that carries `commonName` to a server. */
  issue(commonName: string): { readonly certFile: string; readonly keyFile: string }
}

/** A certificate and its key as they stand in their files. */
export async function readCertificate(files: { readonly certFile: string; readonly keyFile: string }) {
  return { cert: await readFile(files.certFile, 'utf8'), key: await readFile(files.keyFile, 'utf8') }
}

/** A certificate authority of its own, made with the openssl command. */
export async function certificateAuthority(folder: string): Promise<Certificates> {
  const path = (name: string): string => join(folder, name)
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
  openssl([
    'req',
    '-x509',
    ...newKey,
    '-days',
    '2',
    '-subj',
    '/CN=test CA',
    '-keyout',
    path('ca.key'),
    '-out',
    path('ca.pem'),
  ])
  await writeFile(path('san.cnf'), 'subjectAltName=DNS:localhost,IP:127.0.0.1')
  return {
    ca: await readFile(path('ca.pem'), 'utf8'),
    caFile: path('ca.pem'),
    issue(commonName) {
      const files = { certFile: path(`${commonName}.pem`), keyFile: path(`${commonName}.key`) }
      const request = path(`${commonName}.csr`)
      openssl(['req', ...newKey, '-subj', `/CN=${commonName}`, '-keyout', files.keyFile, '-out', request])
      const issuer = ['-CA', path('ca.pem'), '-CAkey', path('ca.key'), '-CAcreateserial']
      openssl([
        'x509',
        '-req',
        '-in',
        request,
        ...issuer,
        '-days',
        '2',
        '-extfile',
        path('san.cnf'),
        '-out',
        files.certFile,
      ])
      return files
    },
  }
}

function openssl(args: readonly string[]): void {
  execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] })
}
