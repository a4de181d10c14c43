import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Profile, RuntimeSettings, SplitSpec } from '@edgefit/shared/model'
import { prepareModelAndData } from '../deploy/prepare.ts'
import type { JobProgress } from '../measure/jobs.ts'
import type { JobRunner } from '../measure/runner.ts'
import { threadsFor } from '../profile/threads-for.ts'
import { runtimeCandidates } from '../search/candidates.ts'
import { createChildLab, DEFAULT_LIMITS } from '../search/child-lab.ts'
import type { Lab } from '../search/lab.ts'
import { pickRuntime } from '../search/pick-runtime.ts'
import { orThrow, stepError } from '../search/step-error.ts'
import { type DataOptions, planData } from './plan-data.ts'

export interface LabPorts {
  readonly runner: JobRunner
  readonly profile: Profile
  readonly now: () => number
  readonly monotonicNow: () => number
  readonly onStep: (what: string) => void
  /** Of the job that runs. */
  readonly onProgress?: (progress: JobProgress) => void
}

/** A lab for one model and one dataset, whose files go when `use` has ended. */
export async function withTemporaryLab<Result>(
  options: DataOptions,
  ports: LabPorts,
  use: (lab: Lab, split: SplitSpec) => Promise<Result>,
  signal: AbortSignal,
): Promise<Result> {
  const { modelPath, npzPath } = options
  const { runner, profile, now, monotonicNow, onProgress } = ports
  const workDir = await mkdtemp(join(tmpdir(), 'edgefit-lab-'))
  try {
    const datasetDir = join(workDir, 'dataset')
    const { split, task } = await planData(options, datasetDir, signal)
    await prepareModelAndData({ modelPath, npzPath, datasetDir, split, task }, runner, signal)
    const lab = await createChildLab({
      runner,
      sourcePath: modelPath,
      datasetDir,
      split,
      task,
      workDir,
      calibrationThreads: threadsFor(profile.limits.cpus),
      hardwareClass: profile.hardwareClass,
      now,
      monotonicNow,
      limits: DEFAULT_LIMITS,
      ...(onProgress && { onProgress }),
    })
    return await use(lab, split)
  } finally {
    await rm(workDir, { recursive: true, force: true })
  }
}

/** The runtime settings that suit a model best within the box's limits. */
export async function bestRuntime(
  lab: Lab,
  modelPath: string,
  { profile, onStep }: LabPorts,
  signal: AbortSignal,
): Promise<RuntimeSettings> {
  onStep('timing runtime settings')
  const tuned = await lab.tuneRuntime(modelPath, runtimeCandidates(profile.limits.cpus), signal)
  const runtime = pickRuntime(orThrow('no runtime settings could be timed', tuned).timings)
  if (runtime !== undefined) return runtime
  throw stepError('no runtime settings could be timed', {
    kind: 'failed',
    reason: 'crashed',
    message: 'all of them failed',
  })
}
