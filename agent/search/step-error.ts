import { EdgefitError, type ErrorCode } from '@edgefit/shared'
import type { TrialFailure } from '@edgefit/shared/model'
import type { StepFailed } from './lab.ts'

const CODES: Partial<Record<TrialFailure, ErrorCode>> = {
  unsupported: 'MODEL_UNSUPPORTED',
  'pass-failed': 'PASS_FAILED',
  'no-space': 'DISK_FULL',
}

/** The exception for a step without which nothing goes on. */
export function stepError(what: string, { reason, message }: StepFailed): EdgefitError {
  return new EdgefitError(`${what}: ${message}`, { code: CODES[reason] ?? 'TRIAL_FAILED', details: { reason } })
}

export function orThrow<Done extends { readonly kind: 'done' | 'measured' }>(
  what: string,
  step: Done | StepFailed,
): Done {
  if (step.kind === 'failed') throw stepError(what, step)
  return step
}
