import type { Profile } from '@edgefit/shared/model'
import { type CpuInfo, kernelFeatures, parseCpuInfo } from './cpu-info.ts'
import { parseCpuList } from './cpu-list.ts'
import type { SystemFiles } from './system-files.ts'

export type Cores = Profile['cpu']['cores']

export interface Cpu {
  readonly model: string
  readonly features: string[]
  readonly logicalCores: number
  readonly cachesBytes: Profile['cpu']['cachesBytes']
  /** Ids of the CPUs that are switched on, ascending. */
  readonly online: readonly number[]
  /** Groups of the CPUs given, fastest first. */
  coresAmong(ids: readonly number[]): Cores
}

interface Core {
  readonly kind: string
  /**
   * Cores of one key are one group. Arm clusters of one kind may differ in clock, and are then two. On x64 the clocks
   * of single cores differ by their luck in production, and say nothing.
   */
  readonly group: string
  readonly maxMhz: number | null
  /** Speed relative to the fastest core of the box, 1024 at most (arm); 0 where not told. */
  readonly capacity: number
}

const CPU_DEVICES = '/sys/devices/system/cpu'

/** @param fallbackCount CPUs to assume where the files do not tell */
export function readCpu(files: SystemFiles, fallbackCount: number): Cpu {
  const infos = parseCpuInfo(files.text('/proc/cpuinfo') ?? '')
  const online = onlineCpus(files, infos, fallbackCount)
  const hybrid = hybridKinds(files)
  const cores = new Map(online.map((id) => [id, coreOf(files, infos, hybrid, id)]))
  const coresAmong = (ids: readonly number[]) => groupCores(ids.flatMap((id) => cores.get(id) ?? []))
  return {
    model: modelName(files, infos, coresAmong(online)),
    features: kernelFeatures(infos),
    logicalCores: online.length,
    cachesBytes: readCaches(files, fastestOf(cores)),
    online,
    coresAmong,
  }
}

function onlineCpus(files: SystemFiles, infos: readonly CpuInfo[], fallbackCount: number): readonly number[] {
  const listed = parseCpuList(files.text(`${CPU_DEVICES}/online`) ?? '')
  if (listed.length > 0) return listed
  return infos.length > 0 ? infos.map(({ id }) => id) : Array.from({ length: fallbackCount }, (_, id) => id)
}

/** Intel's hybrid CPUs name their kinds by device. */
function hybridKinds(files: SystemFiles): ReadonlyMap<number, string> {
  const kinds = [
    ['cpu_core', 'performance'],
    ['cpu_atom', 'efficiency'],
  ] as const
  return new Map(
    kinds.flatMap(([device, kind]) =>
      parseCpuList(files.text(`/sys/devices/${device}/cpus`) ?? '').map((id): [number, string] => [id, kind]),
    ),
  )
}

function coreOf(files: SystemFiles, infos: readonly CpuInfo[], hybrid: ReadonlyMap<number, string>, id: number): Core {
  const maxKhz = files.number(`${CPU_DEVICES}/cpu${id}/cpufreq/cpuinfo_max_freq`)
  const armName = infos.find((info) => info.id === id)?.coreName
  const kind = armName ?? hybrid.get(id) ?? 'core'
  return {
    kind,
    group: armName === undefined ? kind : `${kind} ${maxKhz}`,
    maxMhz: maxKhz === undefined ? null : Math.round(maxKhz / 1000),
    capacity: files.number(`${CPU_DEVICES}/cpu${id}/cpu_capacity`) ?? 0,
  }
}

function groupCores(cores: readonly Core[]): Cores {
  const groups = new Map<string, Core & { readonly count: number }>()
  for (const core of cores) {
    const group = groups.get(core.group)
    const maxMhz = Math.max(core.maxMhz ?? 0, group?.maxMhz ?? 0)
    groups.set(core.group, {
      ...core,
      maxMhz: maxMhz === 0 ? null : maxMhz,
      capacity: Math.max(core.capacity, group?.capacity ?? 0),
      count: (group?.count ?? 0) + 1,
    })
  }
  return [...groups.values()].sort(fasterFirst).map(({ kind, count, maxMhz }) => ({ kind, count, maxMhz }))
}

function fasterFirst(a: Core, b: Core): number {
  return b.capacity - a.capacity || (b.maxMhz ?? 0) - (a.maxMhz ?? 0)
}

function fastestOf(cores: ReadonlyMap<number, Core>): number {
  const [fastest] = [...cores].sort(([, a], [, b]) => fasterFirst(a, b))
  return fastest?.[0] ?? 0
}

/** The kernel's name of an x64 CPU; for arm the board, which names its chip, or else the cores. */
function modelName(files: SystemFiles, infos: readonly CpuInfo[], cores: Cores): string {
  const isArm = infos.some(({ coreName }) => coreName !== undefined)
  if (!isArm) return infos.find(({ modelName: name }) => name)?.modelName ?? 'unknown'
  const board = files.text('/proc/device-tree/model') ?? files.text('/sys/firmware/devicetree/base/model')
  return board || [...new Set(cores.map(({ kind }) => kind))].join(' + ')
}

function readCaches(files: SystemFiles, id: number): Profile['cpu']['cachesBytes'] {
  const caches = `${CPU_DEVICES}/cpu${id}/cache`
  const found = files.list(caches).map((index) => ({
    level: files.number(`${caches}/${index}/level`),
    type: files.text(`${caches}/${index}/type`),
    sizeBytes: cacheBytes(files.text(`${caches}/${index}/size`) ?? ''),
  }))
  const size = (wanted: number) =>
    found.find(({ level, type }) => level === wanted && type !== 'Instruction')?.sizeBytes ?? null
  return { l1d: size(1), l2: size(2), l3: size(3) }
}

const UNITS = { K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 } as const

function cacheBytes(text: string): number | null {
  const [, digits, unit] = /^(\d+)([KMG])$/.exec(text) ?? []
  return digits === undefined ? null : Number(digits) * UNITS[unit as keyof typeof UNITS]
}
