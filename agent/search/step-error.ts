import { EdgefitError } from '@edgefit/shared'
import type { StepFailed } from './lab.ts'

/** The exception for a step without which nothing goes on. */
export function stepError(what: string, { reason, message }: StepFailed): EdgefitError {
  const code = reason === 'unsupported' ? 'MODEL_UNSUPPORTED' : reason === 'no-space' ? 'DISK_FULL' : 'TRIAL_FAILED'
  return new EdgefitError(`${what}: ${message}`, { code, details: { reason } })
}

export function orThrow<Done extends { readonly kind: 'done' | 'measured' }>(
  what: string,
  step: Done | StepFailed,
): Done {
  if (step.kind === 'failed') throw stepError(what, step)
  return step
}
