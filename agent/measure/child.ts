import type { JobRunner } from './runner.ts'

export interface ChildRunnerOptions {
  /** Held while a job runs; every agent on the host names the same file. Made where absent. */
  readonly lockPath: string
  /** CPUs the children may use, as `taskset -c` takes them: `0-3` or `2,3`. All that the agent may use by default. */
  readonly cpus?: string
  /** A child whose resident memory grows above this is killed: `out-of-memory`. */
  readonly memoryLimitBytes?: number
  /** For another host to take the lock from us, not part of `timeoutMs`. Default 30 minutes. */
  readonly lockTimeoutMs?: number
  /** Default: the worker beside this file. */
  readonly workerEntry?: URL
  /** How node is started, default `[process.execPath]`. An emulator goes in front. */
  readonly nodeCommand?: readonly string[]
}

/** @throws EdgefitError CONFIG_INVALID when the host lacks `flock`, or the lock file cannot be opened. */
export async function createChildRunner(_options: ChildRunnerOptions): Promise<JobRunner> {
  await Promise.resolve()
  throw new Error('not built yet')
}
