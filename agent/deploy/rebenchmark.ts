import { join } from 'node:path'
import type { DeploymentGoal, ReportBody } from '@edgefit/shared/protocol'
import type { JobRunner } from '../measure/runner.ts'
import { createChildLab, type LabLimits } from '../search/child-lab.ts'
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
 * whether its latency has drifted. Undefined where nothing of this deployment serves.
 *
 * @throws EdgefitError TRIAL_FAILED
 */
export async function rebenchmark(
  slot: string,
  { deploymentId, dataset, model }: DeploymentGoal,
  ports: RebenchmarkPorts,
  signal: AbortSignal,
): Promise<ReportBody | undefined> {
  const active = await ports.slots.active(slot)
  if (active === undefined || active.runtime.deploymentId !== deploymentId) return undefined
  const { stateDir, runner, limits, now } = ports
  const lab = await createChildLab({
    runner,
    sourcePath: active.modelPath,
    datasetDir: datasetDirectory(stateDir, dataset.artifact.digest),
    split: dataset.split,
    task: model.task,
    workDir: join(stateDir, 'work', `rebenchmark-${slot}`),
    calibrationThreads: 1,
    now,
    limits,
  })
  const under = { path: active.modelPath, runtime: active.runtime.runtime }
  const measured = orThrow(
    'the active model could not be measured again',
    await lab.measure(under, null, 'evaluation', signal),
  )
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
