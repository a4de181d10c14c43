import type { DeploymentGoal, StatusReport } from '@edgefit/shared/protocol'

const LONGEST_MESSAGE = 4000

/** The status of one try of a deployment. What is not said is null; a message is cut to what the protocol takes. */
export function statusReport(
  slot: string,
  { deploymentId, attempt }: Pick<DeploymentGoal, 'deploymentId' | 'attempt'>,
  said: Pick<StatusReport, 'status'> & Partial<Omit<StatusReport, 'kind' | 'deploymentId' | 'attempt' | 'slot'>>,
): StatusReport {
  return {
    kind: 'status',
    deploymentId,
    attempt,
    slot,
    phase: null,
    reason: null,
    outcome: null,
    running: null,
    progress: null,
    ...said,
    message: said.message?.slice(0, LONGEST_MESSAGE) ?? null,
  }
}
