import type { DeploymentGoal, ReportBody } from '@edgefit/shared/protocol'
import { measureVariant } from '../measure/measure.ts'
import type { JobRunner } from '../measure/runner.ts'
import type { LabLimits } from '../search/child-lab.ts'
import { orThrow } from '../search/step-error.ts'
import { driftBetween } from './drift.ts'
import { datasetDirectory } from './prepare.ts'
import type { SlotStore } from './slots.ts'

export interface RebenchmarkPorts {
  readonly stateDir: string
  readonly slots: SlotStore
  readonly runner: JobRunner
  readonly limits: LabLimits
  readonly now: () => number
}

/**
 * Measures what serves in `slot` again, on the same samples and with the same settings as at its activation, and says
 * whether its latency has drifted; its answers cannot. Undefined where nothing of this deployment serves.
 *
 * @throws EdgefitError TRIAL_FAILED
 */
export async function rebenchmark(
  slot: string,
  { deploymentId, dataset }: DeploymentGoal,
  ports: RebenchmarkPorts,
  signal: AbortSignal,
): Promise<ReportBody | undefined> {
  const active = await ports.slots.active(slot)
  if (active?.runtime?.deploymentId !== deploymentId) return undefined
  const { stateDir, runner, limits, now } = ports
  const input = {
    variant: { path: active.modelPath, runtime: active.runtime.runtime },
    baseline: null,
    samples: {
      datasetDir: datasetDirectory(stateDir, dataset.artifact.digest),
      split: dataset.split,
      which: 'evaluation',
    },
    effort: limits.effort.evaluation,
    // Of no use without a task.
    task: null,
    maxSamples: null,
    referencePath: '',
  } as const
  const result = await measureVariant(runner, input, { timeoutMs: limits.stepTimeoutMs, now }, signal)
  signal.throwIfAborted()
  const measured = orThrow('the active model could not be measured again', result)
  const { drifted, ratio, low, high } = driftBetween(active.runtime.measurement, measured.measurement)
  return {
    kind: 'rebenchmark',
    deploymentId,
    slot,
    measurement: measured.measurement,
    change: { ratio, low, high },
    drifted,
  }
}
