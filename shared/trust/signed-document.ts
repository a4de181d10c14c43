import { CompactSign, compactVerify, EmbeddedJWK } from 'jose'
import { EdgefitError } from '../errors.ts'
import { importPublicKey, type SigningKey } from './keys.ts'

/**
 * The kinds of signed documents. The kind is in the protected header, so that a signature made for one purpose is
 * worth nothing for another.
 */
export const SIGNED_DOCUMENTS = ['desired', 'reports', 'enrol-request', 'enrol-reply'] as const
export type SignedDocument = (typeof SIGNED_DOCUMENTS)[number]

/** A compact JWS (EdDSA) over exactly these bytes. */
export function signDocument(key: SigningKey, kind: SignedDocument, payload: Uint8Array): Promise<string> {
  return new CompactSign(payload).setProtectedHeader({ alg: 'EdDSA', typ: headerType(kind) }).sign(key.privateKey)
}

/**
 * Gives back the signed bytes, to be parsed only then.
 *
 * @throws EdgefitError SIGNATURE_INVALID: not a JWS, altered, of another key or of another kind.
 */
export function verifyDocument(jws: string, kind: SignedDocument, publicKey: string): Promise<Uint8Array> {
  return checked(kind, () => compactVerify(jws, () => importPublicKey(publicKey), { algorithms: ['EdDSA'] }))
}

/** Like {@link signDocument}, for a reader who does not hold the key yet: it travels along. */
export function signIntroduction(key: SigningKey, kind: SignedDocument, payload: Uint8Array): Promise<string> {
  const jwk = { kty: 'OKP', crv: 'Ed25519', x: key.publicKey }
  return new CompactSign(payload).setProtectedHeader({ alg: 'EdDSA', typ: headerType(kind), jwk }).sign(key.privateKey)
}

/**
 * Proves only that whoever signed holds `signer`, the key that travelled along: the caller has to judge that key.
 *
 * @throws EdgefitError SIGNATURE_INVALID
 */
export async function verifyIntroduction(
  jws: string,
  kind: SignedDocument,
): Promise<{ readonly payload: Uint8Array; readonly signer: string }> {
  let signer = ''
  const payload = await checked(kind, async () => {
    const verified = await compactVerify(jws, EmbeddedJWK, { algorithms: ['EdDSA'] })
    signer = verified.protectedHeader.jwk?.x ?? ''
    importPublicKey(signer)
    return verified
  })
  return { payload, signer }
}

async function checked(kind: SignedDocument, verify: () => ReturnType<typeof compactVerify>): Promise<Uint8Array> {
  const { payload, protectedHeader } = await verify().catch((cause: unknown) => {
    throw new EdgefitError(`${kind}: not signed by the expected key, or altered on the way`, {
      code: 'SIGNATURE_INVALID',
      cause,
    })
  })
  if (protectedHeader.typ !== headerType(kind))
    throw new EdgefitError(`${kind}: this signature was made for another kind of document`, {
      code: 'SIGNATURE_INVALID',
      details: { expected: headerType(kind), actual: protectedHeader.typ },
    })
  return payload
}

function headerType(kind: SignedDocument): string {
  return `edgefit-${kind}+jws`
}
