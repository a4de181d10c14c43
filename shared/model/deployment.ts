import * as z from 'zod'

export const DEPLOYMENT_STATUSES = [
  'queued',
  'in_progress',
  'succeeded',
  'failed',
  'timed_out',
  'rejected',
  'cancelled',
  'removed',
] as const
export const DeploymentStatus = z.enum(DEPLOYMENT_STATUSES)
export type DeploymentStatus = z.infer<typeof DeploymentStatus>

export const TERMINAL_STATUSES = ['succeeded', 'failed', 'timed_out', 'rejected', 'cancelled', 'removed'] as const
export type TerminalStatus = (typeof TERMINAL_STATUSES)[number]

export function isTerminal(status: DeploymentStatus): status is TerminalStatus {
  return TERMINAL_STATUSES.includes(status as TerminalStatus)
}

export const DEPLOYMENT_PHASES = [
  'downloading',
  'verifying',
  'profiling',
  'searching',
  'benchmarking',
  'staged',
  'activating',
  'confirming',
  'rolling_back',
  'deferred',
] as const
export const DeploymentPhase = z.enum(DEPLOYMENT_PHASES)
export type DeploymentPhase = z.infer<typeof DeploymentPhase>

/** Why a deployment ended as it did. */
export const REASON_CODES = [
  'objective-met',
  'objective-infeasible', // measured, and nothing reaches it: the best reachable points are in the trials
  'accuracy-undecided', // too few samples to prove the floor
  'model-invalid',
  'model-unsupported',
  'dataset-invalid',
  'dataset-mismatch',
  'signature-invalid',
  'protocol-unsupported',
  'goal-invalid', // signed, but asks what no agent may or can do
  'transfer-failed',
  'disk-full',
  'trials-failed', // not even fp32 could be measured
  'activation-failed',
  'silent', // the controller heard nothing within the phase's time
  'phase-timeout',
  'superseded', // a newer desired state replaced it
  'removed-by-operator',
  'internal',
] as const
export const ReasonCode = z.enum(REASON_CODES)
export type ReasonCode = z.infer<typeof ReasonCode>

/** What a terminal deployment left running on the box. */
export const OUTCOMES = ['activated', 'unchanged', 'rolled_back', 'unable_to_roll_back'] as const
export const Outcome = z.enum(OUTCOMES)
export type Outcome = z.infer<typeof Outcome>
