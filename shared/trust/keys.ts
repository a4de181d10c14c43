import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { EdgefitError } from '../errors.ts'

/** An Ed25519 key that signs. `publicKey` is its public half as a JWK `x` value: 43 characters of base64url. */
export interface SigningKey {
  readonly privateKey: KeyObject
  readonly publicKey: string
}

export function generateSigningKey(): SigningKey {
  return fromPrivateKey(generateKeyPairSync('ed25519').privateKey)
}

/** PKCS#8 PEM, unencrypted: the file's mode protects it. */
export function exportSigningKey(key: SigningKey): string {
  return key.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
}

/** @throws EdgefitError CONFIG_INVALID where `pem` is no Ed25519 private key; `what` names its source. */
export function importSigningKey(pem: string, what: string): SigningKey {
  let privateKey: KeyObject
  try {
    privateKey = createPrivateKey(pem)
  } catch (cause) {
    throw new EdgefitError(
      `${what}: not a private key in PEM; restore it from a backup, or delete it and enrol again`,
      {
        code: 'CONFIG_INVALID',
        cause,
      },
    )
  }
  if (privateKey.asymmetricKeyType !== 'ed25519')
    throw new EdgefitError(`${what}: an Ed25519 key is needed, this one is ${privateKey.asymmetricKeyType}`, {
      code: 'CONFIG_INVALID',
    })
  return fromPrivateKey(privateKey)
}

/** @throws EdgefitError INPUT_INVALID where `publicKey` is no Ed25519 public key as a JWK `x` value. */
export function importPublicKey(publicKey: string): KeyObject {
  try {
    return createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: publicKey }, format: 'jwk' })
  } catch (cause) {
    throw new EdgefitError('publicKey: not an Ed25519 key (a JWK "x" value of 43 base64url characters)', {
      code: 'INPUT_INVALID',
      cause,
    })
  }
}

/**
 * SHA-256 of the key's SubjectPublicKeyInfo in lower-case hex, as `openssl pkey -pubout -outform DER | sha256sum`
 * prints it.
 */
export function keyFingerprint(publicKey: string): string {
  return createHash('sha256')
    .update(importPublicKey(publicKey).export({ type: 'spki', format: 'der' }))
    .digest('hex')
}

function fromPrivateKey(privateKey: KeyObject): SigningKey {
  const { x } = createPublicKey(privateKey).export({ format: 'jwk' })
  if (x === undefined) throw new TypeError('an Ed25519 key without x')
  return { privateKey, publicKey: x }
}
