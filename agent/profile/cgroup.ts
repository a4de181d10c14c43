import type { SystemFiles } from './system-files.ts'

/** What the control groups of this process allow it. Undefined where nothing is set. */
export interface CgroupLimits {
  readonly version: 'cgroup-v1' | 'cgroup-v2'
  readonly cpus: number | undefined
  readonly memoryBytes: number | undefined
}

const ROOT = '/sys/fs/cgroup'

/** The tightest limit of the process's group and of all groups above it that can be seen from here. */
export function readCgroupLimits(files: SystemFiles): CgroupLimits | undefined {
  const memberships = (files.text('/proc/self/cgroup') ?? '').split('\n').flatMap(parseMembership)
  const unified = memberships.find(({ controllers }) => controllers === '')
  const isV2 = unified !== undefined && files.text(`${ROOT}/cgroup.controllers`) !== undefined
  if (isV2) {
    const groups = upwards(ROOT, unified.path)
    return {
      version: 'cgroup-v2',
      cpus: smallest(groups.map((group) => quotaV2(files.text(`${group}/cpu.max`)))),
      memoryBytes: smallest(
        groups.flatMap((group) => [
          memoryLimit(files, `${group}/memory.max`),
          memoryLimit(files, `${group}/memory.high`),
        ]),
      ),
    }
  }
  const groupsOf = (controller: string) =>
    memberships
      .filter(({ controllers }) => controllers.split(',').includes(controller))
      .flatMap(({ controllers, path }) => [
        ...upwards(`${ROOT}/${controllers}`, path),
        ...upwards(`${ROOT}/${controller}`, path),
      ])
  const [cpuGroups, memoryGroups] = [groupsOf('cpu'), groupsOf('memory')]
  if (cpuGroups.length + memoryGroups.length === 0) return undefined
  return {
    version: 'cgroup-v1',
    cpus: smallest(cpuGroups.map((group) => quotaV1(files, group))),
    memoryBytes: smallest(memoryGroups.map((group) => memoryLimit(files, `${group}/memory.limit_in_bytes`))),
  }
}

/** A line of /proc/self/cgroup: `4:memory:/docker/abc`; version 2 names no controllers: `0::/user.slice`. */
function parseMembership(line: string): { readonly controllers: string; readonly path: string }[] {
  const [, controllers, path] = /^\d+:([^:]*):(.*)$/.exec(line) ?? []
  return controllers === undefined || path === undefined || controllers.startsWith('name=')
    ? []
    : [{ controllers, path }]
}

/** The group, its parents, and the mount itself: inside a container the path is often that of the host. */
function upwards(mount: string, path: string): string[] {
  const names = path.split('/').filter((name) => name !== '' && name !== '..')
  return Array.from({ length: names.length + 1 }, (_, up) => [mount, ...names.slice(0, names.length - up)].join('/'))
}

function quotaV2(text: string | undefined): number | undefined {
  const [, quota, period] = /^(\d+) (\d+)$/.exec(text ?? '') ?? []
  return quota === undefined || period === undefined ? undefined : Number(quota) / Number(period)
}

function quotaV1(files: SystemFiles, group: string): number | undefined {
  const quota = files.number(`${group}/cpu.cfs_quota_us`)
  const period = files.number(`${group}/cpu.cfs_period_us`)
  return quota === undefined || period === undefined || quota <= 0 ? undefined : quota / period
}

/** `max` is no limit; nor is the largest page-aligned number, which version 1 writes for none. */
function memoryLimit(files: SystemFiles, path: string): number | undefined {
  const value = files.number(path)
  return value === undefined || value <= 0 || value >= Number.MAX_SAFE_INTEGER ? undefined : value
}

function smallest(values: readonly (number | undefined)[]): number | undefined {
  const known = values.filter((value) => value !== undefined)
  return known.length === 0 ? undefined : Math.min(...known)
}
