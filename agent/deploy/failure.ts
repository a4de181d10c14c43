import { describeFailure, EdgefitError, type ErrorCode } from '@edgefit/shared'
import type { ReasonCode } from '@edgefit/shared/model'
import type { ReportBody } from '@edgefit/shared/protocol'
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

interface RefusedGoals {
  readonly code: ErrorCode
  readonly message: string
  readonly deployments: readonly { readonly slot: string; readonly deploymentId: string; readonly attempt: number }[]
}

/** A desired state that this agent cannot use ends the deployments it names, instead of leaving them to time out. */
export function refusedReports({ code, message, deployments }: RefusedGoals): readonly ReportBody[] {
  const reason = code === 'PROTOCOL_UNSUPPORTED' ? 'protocol-unsupported' : 'internal'
  return deployments.map(({ slot, deploymentId, attempt }) => ({
    kind: 'status',
    deploymentId,
    attempt,
    slot,
    status: 'rejected',
    phase: null,
    reason,
    message: message.slice(0, 4000),
    outcome: 'unchanged',
    running: null,
    progress: null,
  }))
}
