import type { Profile } from '@edgefit/shared/model'
import { createChildRunner } from '../measure/child.ts'
import type { JobRunner } from '../measure/runner.ts'
import { profileDevice } from '../profile/profile-device.ts'
import { AGENT_VERSION } from '../version.ts'
import type { LimitOptions } from './options.ts'

export interface Box {
  readonly runner: JobRunner
  profile(signal: AbortSignal): Promise<Profile>
}

/** This box within the limits that its operator set. */
export async function openBox(limits: LimitOptions): Promise<Box> {
  const memoryLimitBytes = limits.memoryLimitMib === undefined ? undefined : limits.memoryLimitMib * 2 ** 20
  const runner = await createChildRunner({
    lockPath: limits.lock,
    ...(limits.cpus !== undefined && { cpus: limits.cpus }),
    ...(memoryLimitBytes !== undefined && { memoryLimitBytes }),
  })
  return {
    runner,
    profile: (signal) =>
      profileDevice(
        {
          runner,
          agentVersion: AGENT_VERSION,
          limits: {
            ...(limits.cpus !== undefined && { cpus: limits.cpus }),
            ...(limits.maxThreads !== undefined && { maxThreads: limits.maxThreads }),
            ...(memoryLimitBytes !== undefined && { memoryBytes: memoryLimitBytes }),
          },
        },
        signal,
      ),
  }
}
