import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
} from 'node:crypto'
import { isIP } from 'node:net'
import { join } from 'node:path'
import { EdgefitError } from '@edgefit/shared'
import { readIfPresent, writePrivateFile } from '@edgefit/shared/trust'
import {
  bitString,
  boolean,
  integer,
  objectIdentifier,
  octetString,
  sequence,
  setOf,
  tagged,
  time,
  utf8String,
} from './der.ts'

export interface OwnCertificate {
  /** PEM. Join tokens carry it: it stays the same for the life of the data directory. */
  readonly ca: string
  /** PEM of the broker's certificate and key: new at each start, as nobody pins them. */
  readonly cert: string
  readonly key: string
}

const LIFE_MS = 20 * 365 * 86_400_000
/** A device whose clock is a little behind must not find the certificate from the future. */
const BACKDATED_MS = 86_400_000

/**
 * TLS without any preparation: a certificate authority of the controller's own, kept in `folder`, and a certificate for
 * the broker that it signs. What it proves is that one talks to the broker the join token speaks of.
 *
 * @param hosts names and IP addresses under which devices reach the broker
 */
export async function ownCertificate(folder: string, hosts: readonly string[], nowMs: number): Promise<OwnCertificate> {
  const authority = await loadOrCreateAuthority(join(folder, 'broker-ca.pem'), nowMs)
  const { privateKey, publicKey } = newKeyPair()
  const cert = certificate({
    subject: 'Edgefit broker',
    publicKey,
    issuer: authority,
    nowMs,
    extensions: [
      extension('2.5.29.19', sequence(), true),
      extension('2.5.29.15', bitString(Buffer.from([0x80]), 7), true), // digitalSignature
      extension('2.5.29.37', sequence(objectIdentifier('1.3.6.1.5.5.7.3.1'))), // serverAuth
      extension('2.5.29.17', sequence(...hosts.map(alternativeName))),
    ],
  })
  return { ca: authority.cert, cert, key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString() }
}

interface Authority {
  readonly privateKey: KeyObject
  readonly publicKey: KeyObject
  readonly cert: string
}

const AUTHORITY_NAME = 'Edgefit controller'

/** Key and certificate are in one file, so that they are always of a pair. */
async function loadOrCreateAuthority(path: string, nowMs: number): Promise<Authority> {
  const pem = await readIfPresent(path)
  if (pem !== undefined) {
    try {
      const privateKey = createPrivateKey(pem)
      const cert = pem.slice(pem.indexOf('-----BEGIN CERTIFICATE-----'))
      return { privateKey, publicKey: createPublicKey(privateKey), cert }
    } catch (cause) {
      throw new EdgefitError(
        `${path}: not a private key and its certificate in PEM; restore it from a backup, or delete it and enrol all boxes anew`,
        { code: 'CONFIG_INVALID', cause },
      )
    }
  }
  const pair = newKeyPair()
  const cert = certificate({
    subject: AUTHORITY_NAME,
    publicKey: pair.publicKey,
    issuer: pair,
    nowMs,
    extensions: [
      extension('2.5.29.19', sequence(boolean(true)), true),
      extension('2.5.29.15', bitString(Buffer.from([0x06]), 1), true), // keyCertSign, cRLSign
    ],
  })
  await writePrivateFile(path, pair.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString() + cert)
  return { ...pair, cert }
}

function newKeyPair(): { readonly privateKey: KeyObject; readonly publicKey: KeyObject } {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' })
}

interface Contents {
  readonly subject: string
  readonly publicKey: KeyObject
  readonly issuer: Pick<Authority, 'privateKey' | 'publicKey'>
  readonly nowMs: number
  readonly extensions: readonly Buffer[]
}

/** RFC 5280, version 3, signed with ecdsa-with-SHA256. PEM. */
function certificate({ subject, publicKey, issuer, nowMs, extensions }: Contents): string {
  const algorithm = sequence(objectIdentifier('1.2.840.10045.4.3.2'))
  const keyIds = [
    extension('2.5.29.14', octetString(keyId(publicKey))),
    extension('2.5.29.35', sequence(tagged(0, keyId(issuer.publicKey), true))),
  ]
  const body = sequence(
    tagged(0, integer(Buffer.from([2]))),
    integer(Buffer.concat([Buffer.from([1]), randomBytes(15)])),
    algorithm,
    name(AUTHORITY_NAME),
    sequence(time(nowMs - BACKDATED_MS), time(nowMs + LIFE_MS)),
    name(subject),
    publicKey.export({ type: 'spki', format: 'der' }),
    tagged(3, sequence(...extensions, ...keyIds)),
  )
  const der = sequence(body, algorithm, bitString(sign('sha256', body, issuer.privateKey)))
  const lines = der.toString('base64').match(/.{1,64}/g) ?? []
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`
}

function name(commonName: string): Buffer {
  return sequence(setOf(sequence(objectIdentifier('2.5.4.3'), utf8String(commonName))))
}

function extension(id: string, value: Buffer, critical = false): Buffer {
  return sequence(objectIdentifier(id), ...(critical ? [boolean(true)] : []), octetString(value))
}

function keyId(publicKey: KeyObject): Buffer {
  return createHash('sha256')
    .update(publicKey.export({ type: 'spki', format: 'der' }))
    .digest()
    .subarray(0, 20)
}

function alternativeName(host: string): Buffer {
  return isIP(host) === 0 ? tagged(2, Buffer.from(host), true) : tagged(7, addressBytes(host), true)
}

function addressBytes(address: string): Buffer {
  if (isIP(address) === 4) return Buffer.from(address.split('.').map(Number))
  const [head = '', tail] = address.split('::')
  const groups = (text: string | undefined): string[] => (text ? text.split(':') : [])
  const zeros = 8 - groups(head).length - groups(tail).length
  const all = [...groups(head), ...Array<string>(tail === undefined ? 0 : zeros).fill('0'), ...groups(tail)]
  return Buffer.from(all.map((group) => group.padStart(4, '0')).join(''), 'hex')
}
