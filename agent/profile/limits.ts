import { EdgefitError } from '@edgefit/shared'
import type { Profile } from '@edgefit/shared/model'
import { readCgroupLimits } from './cgroup.ts'
import { parseCpuList } from './cpu-list.ts'
import type { SystemFiles } from './system-files.ts'

/** What the operator allows a model on this box. */
export interface ConfiguredLimits {
  /** As `taskset -c` takes them: `0-3` or `2,3`. */
  readonly cpus?: string
  readonly maxThreads?: number
  readonly memoryBytes?: number
}

export interface Usable {
  readonly limits: Profile['limits']
  /** CPUs that models will run on. */
  readonly cpuIds: readonly number[]
}

interface Bound {
  readonly value: number
  readonly source: Profile['limits']['source']
}

/**
 * Affinity, control groups and configuration together: the tightest of each wins. `source` is what bounds the CPUs, or
 * the memory where the CPUs are not bounded.
 *
 * @throws EdgefitError CONFIG_INVALID when the CPUs asked for are not among those allowed
 */
export function readLimits(
  files: SystemFiles,
  box: { readonly online: readonly number[]; readonly memoryBytes: number },
  configured: ConfiguredLimits,
): Usable {
  const allowed = allowedCpus(files, box.online)
  const cpuIds = configuredCpus(allowed, configured.cpus)
  const cgroup = readCgroupLimits(files)
  const cpus = tightest(box.online.length, [
    { value: allowed.length, source: 'affinity' },
    cgroup?.cpus !== undefined && { value: cgroup.cpus, source: cgroup.version },
    { value: cpuIds.length, source: 'configured' },
    configured.maxThreads !== undefined && { value: configured.maxThreads, source: 'configured' },
  ])
  const memory = tightest(box.memoryBytes, [
    cgroup?.memoryBytes !== undefined && { value: cgroup.memoryBytes, source: cgroup.version },
    configured.memoryBytes !== undefined && { value: configured.memoryBytes, source: 'configured' },
  ])
  return {
    cpuIds,
    limits: {
      cpus: cpus.value,
      memoryBytes: memory.source === 'none' ? null : memory.value,
      source: cpus.source === 'none' ? memory.source : cpus.source,
    },
  }
}

function allowedCpus(files: SystemFiles, online: readonly number[]): readonly number[] {
  const list = /^Cpus_allowed_list:\s*(\S+)$/m.exec(files.text('/proc/self/status') ?? '')?.[1]
  const allowed = new Set(parseCpuList(list ?? ''))
  const usable = online.filter((id) => allowed.has(id))
  return usable.length > 0 ? usable : online
}

function configuredCpus(allowed: readonly number[], list: string | undefined): readonly number[] {
  if (list === undefined) return allowed
  const wanted = parseCpuList(list)
  if (wanted.length > 0 && wanted.every((id) => allowed.includes(id))) return wanted
  throw new EdgefitError(`cpus: ${list} is not among the CPUs this process may use (${allowed.join(', ')})`, {
    code: 'CONFIG_INVALID',
  })
}

/** The first of the smallest bounds below `all`. */
function tightest(all: number, bounds: readonly (Bound | false)[]): Bound {
  return bounds.reduce<Bound>((best, bound) => (bound !== false && bound.value < best.value ? bound : best), {
    value: all,
    source: 'none',
  })
}
