import type { DeploymentPhase } from '@edgefit/shared/model'
import type { DeploymentRecord, Terminal } from './record.ts'

export type Step =
  | {
      readonly kind: 'download' | 'verify' | 'search' | 'stage' | 'activate' | 'confirm'
      readonly phase: DeploymentPhase
    }
  /** Wait for the maintenance window. */
  | { readonly kind: 'defer'; readonly phase: 'deferred' }
  | { readonly kind: 'finish'; readonly terminal: Terminal }
  /** Tell the controller how it ended; again where that may have been lost. */
  | { readonly kind: 'announce'; readonly terminal: Terminal }
  | { readonly kind: 'rest' }

/**
 * What a deployment does next: a pure function of what is on record and whether maintenance is allowed now.
 *
 * Outside the window an agent downloads and verifies, so that the window is spent on work that disturbs.
 */
export function nextStep(record: DeploymentRecord, windowOpen: boolean): Step {
  const { terminal } = record
  if (terminal !== null) return record.announced ? { kind: 'rest' } : { kind: 'announce', terminal }
  if (!record.downloaded) return { kind: 'download', phase: 'downloading' }
  if (!record.verified) return { kind: 'verify', phase: 'verifying' }
  // Once the pointer is switched the window no longer matters: stopping half-way would leave the outcome unconfirmed.
  if (record.activated) return { kind: 'confirm', phase: 'confirming' }
  if (!windowOpen) return { kind: 'defer', phase: 'deferred' }
  const { result } = record
  if (result === null) return { kind: 'search', phase: 'searching' }
  if (result.winner === null) {
    const reason = result.undecided ? 'accuracy-undecided' : 'objective-infeasible'
    const message = result.reasons.join('. ')
    return { kind: 'finish', terminal: { status: 'failed', reason, message, outcome: 'unchanged' } }
  }
  if (record.staged === null) return { kind: 'stage', phase: 'staged' }
  return { kind: 'activate', phase: 'activating' }
}
