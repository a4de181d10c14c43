export { createDeviceToken, type DeviceTokenSubject, verifyDeviceToken } from './device-token.ts'
export { createJoinSecret, decodeJoinToken, encodeJoinToken, hashJoinSecret, JoinToken } from './join-token.ts'
export {
  exportSigningKey,
  generateSigningKey,
  importPublicKey,
  importSigningKey,
  keyFingerprint,
  type SigningKey,
} from './keys.ts'
export { loadOrCreateSigningKey, readIfPresent, writePrivateFile } from './private-file.ts'
export {
  SIGNED_DOCUMENTS,
  type SignedDocument,
  signDocument,
  signIntroduction,
  verifyDocument,
  verifyIntroduction,
} from './signed-document.ts'
