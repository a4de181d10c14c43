import { describeFailure, EdgefitError, type ErrorCode } from '@edgefit/shared'
import type { ReasonCode } from '@edgefit/shared/model'
import type { Terminal } from './record.ts'

/** Failures that another try on the same box cannot mend are `rejected`, the others `failed`. */
const ENDS: Partial<Record<ErrorCode, readonly [Terminal['status'], ReasonCode]>> = {
  MODEL_INVALID: ['rejected', 'model-invalid'],
  MODEL_UNSUPPORTED: ['rejected', 'model-unsupported'],
  DATASET_INVALID: ['rejected', 'dataset-invalid'],
  DATASET_MISMATCH: ['rejected', 'dataset-mismatch'],
  SIGNATURE_INVALID: ['rejected', 'signature-invalid'],
  PROTOCOL_UNSUPPORTED: ['rejected', 'protocol-unsupported'],
  ARTIFACT_CORRUPT: ['failed', 'transfer-failed'],
  UNAVAILABLE: ['failed', 'transfer-failed'],
  DISK_FULL: ['failed', 'disk-full'],
  TRIAL_FAILED: ['failed', 'trials-failed'],
}

export function terminalOf(error: unknown, outcome: Terminal['outcome']): Terminal {
  const message = describeFailure(error).text.slice(0, 4000)
  if (error instanceof EdgefitError) {
    const [status, reason] = ENDS[error.code] ?? (['failed', 'internal'] as const)
    return { status, reason, message, outcome }
  }
  const full = error instanceof Error && 'code' in error && error.code === 'ENOSPC'
  return { status: 'failed', reason: full ? 'disk-full' : 'internal', message, outcome }
}
