import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Measurement, Profile } from '@edgefit/shared/model'
import { prepareModelAndData } from '../deploy/prepare.ts'
import type { JobRunner } from '../measure/runner.ts'
import { runtimeCandidates } from '../search/candidates.ts'
import { createChildLab, DEFAULT_LIMITS } from '../search/child-lab.ts'
import { pickRuntime } from '../search/pick-runtime.ts'
import { orThrow, stepError } from '../search/step-error.ts'
import { type DataOptions, planData } from './plan-data.ts'

export interface BenchPorts {
  readonly runner: JobRunner
  readonly profile: Profile
  readonly now: () => number
  readonly monotonicNow: () => number
  readonly onStep: (what: string) => void
}

/** Measures one file as it is, with the runtime settings that suit it best within the box's limits. */
export async function bench(options: DataOptions, ports: BenchPorts, signal: AbortSignal): Promise<Measurement> {
  const { modelPath, npzPath } = options
  const { runner, profile, now, monotonicNow } = ports
  const workDir = await mkdtemp(join(tmpdir(), 'edgefit-bench-'))
  try {
    const datasetDir = join(workDir, 'dataset')
    const { split, task } = await planData(options, datasetDir, signal)
    await prepareModelAndData({ modelPath, npzPath, datasetDir, split, task }, runner, signal)
    const calibrationThreads = Math.max(1, Math.floor(profile.limits.cpus))
    const limits = DEFAULT_LIMITS
    const lab = await createChildLab({
      runner,
      sourcePath: modelPath,
      datasetDir,
      split,
      task,
      workDir,
      calibrationThreads,
      hardwareClass: profile.hardwareClass,
      now,
      monotonicNow,
      limits,
    })
    ports.onStep('timing runtime settings')
    const tuned = await lab.tuneRuntime(modelPath, runtimeCandidates(profile.limits.cpus), signal)
    const runtime = pickRuntime(orThrow('no runtime settings could be timed', tuned).timings)
    if (runtime === undefined) {
      throw stepError('no runtime settings could be timed', {
        kind: 'failed',
        reason: 'crashed',
        message: 'all of them failed',
      })
    }
    ports.onStep('measuring')
    const measured = await lab.measure({ path: modelPath, runtime }, null, 'evaluation', signal)
    return orThrow('the model could not be measured', measured).measurement
  } finally {
    await rm(workDir, { recursive: true, force: true })
  }
}
