import { availableParallelism, totalmem } from 'node:os'
import { EdgefitError } from '@edgefit/shared'
import type { Profile } from '@edgefit/shared/model'
import type { JobRunner } from '../measure/runner.ts'
import { runtimeVersion } from '../measure/runtime-version.ts'
import { readCpu } from './cpu.ts'
import { fillCpuGaps, fillTemperature } from './fill-gaps.ts'
import { hardwareClass } from './hardware-class.ts'
import { type ConfiguredLimits, readLimits } from './limits.ts'
import { readOperatingSystem } from './operating-system.ts'
import { type SystemFiles, systemFiles } from './system-files.ts'
import { cpuTemperatureC } from './thermal.ts'
import { threadsFor } from './threads-for.ts'

export interface ProfileOptions {
  readonly runner: JobRunner
  readonly agentVersion: string
  readonly limits: ConfiguredLimits
  /** Default: those of this box. */
  readonly files?: SystemFiles
  /** Default: that of this process. */
  readonly architecture?: string
}

const BENCH_TIMEOUT_MS = 60_000

/**
 * What this box is, with a short measurement of its speed in a child process. `measured` is null when that child gave
 * nothing: a box that is too slow or too full for it may still run models.
 *
 * @throws EdgefitError CONFIG_INVALID on an architecture the runtime has no binary for, or for CPUs that are not there
 */
export async function profileDevice(options: ProfileOptions, signal: AbortSignal): Promise<Profile> {
  const { files = systemFiles(), architecture = process.arch } = options
  if (architecture !== 'arm64' && architecture !== 'x64') {
    throw new EdgefitError(`the agent runs on 64-bit arm64 and x64 systems, this one is ${architecture}`, {
      code: 'CONFIG_INVALID',
    })
  }
  const { online, coresAmong, ...known } = readCpu(files, availableParallelism())
  const cpu = await fillCpuGaps(known)
  const memoryBytes = totalMemoryBytes(files)
  const { limits, cpuIds } = readLimits(files, { online, memoryBytes }, options.limits)
  const version = runtimeVersion()
  const bench = await options.runner.run<'profile-bench'>(
    { kind: 'profile-bench', threads: threadsFor(limits.cpus) },
    { timeoutMs: BENCH_TIMEOUT_MS },
    signal,
  )
  signal.throwIfAborted()
  return {
    hardwareClass: hardwareClass({
      architecture,
      ...cpu,
      cores: coresAmong(cpuIds),
      usableCpus: limits.cpus,
      usableMemoryBytes: limits.memoryBytes ?? memoryBytes,
      runtimeVersion: version,
    }),
    cpu: { architecture, ...cpu, cores: coresAmong(online) },
    memoryBytes,
    os: readOperatingSystem(files),
    limits,
    governor: files.text(`/sys/devices/system/cpu/cpu${online[0] ?? 0}/cpufreq/scaling_governor`) ?? null,
    temperatureC: await fillTemperature(cpuTemperatureC(files)),
    runtimeVersion: version,
    agentVersion: options.agentVersion,
    measured: bench.kind === 'done' ? bench.value : null,
  }
}

function totalMemoryBytes(files: SystemFiles): number {
  const kilobytes = /^MemTotal:\s+(\d+) kB$/m.exec(files.text('/proc/meminfo') ?? '')?.[1]
  return kilobytes === undefined ? totalmem() : Number(kilobytes) * 1024
}
