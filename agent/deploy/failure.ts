import { describeFailure, EdgefitError, type ErrorCode } from '@edgefit/shared'
import { asDiskFull } from '@edgefit/shared/artifact'
import type { ReasonCode } from '@edgefit/shared/model'
import type { StatusReport } from '@edgefit/shared/protocol'
import type { Terminal } from './record.ts'
import { statusReport } from './status-report.ts'

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
  PASS_FAILED: ['failed', 'trials-failed'],
  TRIAL_FAILED: ['failed', 'trials-failed'],
}

export function terminalOf(error: unknown, outcome: Terminal['outcome']): Terminal {
  const known = asDiskFull(error, 'the state folder')
  const message = describeFailure(known).text
  const [status, reason] = (known instanceof EdgefitError && ENDS[known.code]) || (['failed', 'internal'] as const)
  return { status, reason, message, outcome }
}

interface RefusedGoals {
  readonly code: ErrorCode
  readonly message: string
  readonly deployments: readonly { readonly slot: string; readonly deploymentId: string; readonly attempt: number }[]
}

/** A desired state that this agent cannot use ends the deployments it names, instead of leaving them to time out. */
export function refusedReports({ code, message, deployments }: RefusedGoals): readonly StatusReport[] {
  const reason = code === 'PROTOCOL_UNSUPPORTED' ? 'protocol-unsupported' : 'internal'
  return deployments.map(({ slot, ...goal }) =>
    statusReport(slot, goal, { status: 'rejected', reason, message, outcome: 'unchanged' }),
  )
}
