import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { onTestFinished } from 'vitest'
import { type SystemFiles, systemFiles } from '../../../agent/profile/system-files.ts'

export type Files = Readonly<Record<string, string>>

/** The files of a box, on disk under a root of their own while the test runs. Later parts replace earlier ones. */
export function box(...parts: readonly Files[]): SystemFiles {
  const root = mkdtempSync(join(tmpdir(), 'edgefit-box-'))
  onTestFinished(() => rmSync(root, { recursive: true, force: true }))
  for (const [path, text] of Object.entries(Object.assign({}, ...parts) as Files)) {
    mkdirSync(join(root, dirname(path)), { recursive: true })
    writeFileSync(join(root, path), text)
  }
  return systemFiles(root)
}

function armCpu(id: number, part: string, features: string): string {
  return `processor\t: ${id}
BogoMIPS\t: 108.00
Features\t: ${features}
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: ${part}
CPU revision\t: 3
`
}

const per = (ids: readonly number[], file: (id: number) => readonly [path: string, text: string]): Files =>
  Object.fromEntries(ids.map(file))

const cpuFile = (name: string, text: string) => (id: number) =>
  [`/sys/devices/system/cpu/cpu${id}/${name}`, text] as const

const FOUR = [0, 1, 2, 3]

const PI4_FEATURES = 'fp asimd evtstrm crc32 cpuid'
export const RASPBERRY_PI_4: Files = {
  '/proc/cpuinfo': `${FOUR.map((id) => armCpu(id, '0xd08', PI4_FEATURES)).join('\n')}
Hardware\t: BCM2835
Revision\t: c03114
Serial\t\t: 10000000abcdef01
Model\t\t: Raspberry Pi 4 Model B Rev 1.4
`,
  '/proc/device-tree/model': 'Raspberry Pi 4 Model B Rev 1.4\0',
  '/proc/meminfo': 'MemTotal:        3884360 kB\nMemFree:         2900000 kB\n',
  '/proc/self/status': 'Name:\tnode\nCpus_allowed:\tf\nCpus_allowed_list:\t0-3\n',
  '/proc/self/cgroup': '0::/system.slice/edgefit-agent.service\n',
  '/proc/sys/kernel/osrelease': '6.6.31+rpt-rpi-v8\n',
  '/etc/os-release': 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\n',
  '/sys/fs/cgroup/cgroup.controllers': 'cpuset cpu io memory pids\n',
  '/sys/devices/system/cpu/online': '0-3\n',
  ...per(FOUR, cpuFile('cpufreq/cpuinfo_max_freq', '1800000\n')),
  ...per(FOUR, cpuFile('cpufreq/scaling_cur_freq', '1500000\n')),
  ...per(FOUR, cpuFile('cpufreq/scaling_governor', 'ondemand\n')),
  '/sys/devices/system/cpu/cpu0/cache/index0/level': '1\n',
  '/sys/devices/system/cpu/cpu0/cache/index0/type': 'Data\n',
  '/sys/devices/system/cpu/cpu0/cache/index0/size': '32K\n',
  '/sys/devices/system/cpu/cpu0/cache/index1/level': '1\n',
  '/sys/devices/system/cpu/cpu0/cache/index1/type': 'Instruction\n',
  '/sys/devices/system/cpu/cpu0/cache/index1/size': '48K\n',
  '/sys/devices/system/cpu/cpu0/cache/index2/level': '2\n',
  '/sys/devices/system/cpu/cpu0/cache/index2/type': 'Unified\n',
  '/sys/devices/system/cpu/cpu0/cache/index2/size': '1024K\n',
  '/sys/class/thermal/thermal_zone0/type': 'cpu-thermal\n',
  '/sys/class/thermal/thermal_zone0/temp': '48686\n',
  '/sys/devices/platform/soc/soc:firmware/get_throttled': '0\n',
}

const PI5_FEATURES =
  'fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp'
export const RASPBERRY_PI_5: Files = {
  ...RASPBERRY_PI_4,
  '/proc/cpuinfo': FOUR.map((id) => armCpu(id, '0xd0b', PI5_FEATURES)).join('\n'),
  '/proc/device-tree/model': 'Raspberry Pi 5 Model B Rev 1.0\0',
  ...per(FOUR, cpuFile('cpufreq/cpuinfo_max_freq', '2400000\n')),
}

const LITTLE = [0, 1, 2, 3]
const BIG = [4, 5, 6, 7]
/** Four small and four big cores, the big ones in two clusters of unlike clock. */
export const ROCK_5B: Files = {
  '/proc/cpuinfo': [
    ...LITTLE.map((id) => armCpu(id, '0xd05', `${PI5_FEATURES}`)),
    ...BIG.map((id) => armCpu(id, '0xd0b', `${PI5_FEATURES} sve`)),
  ].join('\n'),
  '/proc/device-tree/model': 'Radxa ROCK 5B\0',
  '/proc/meminfo': 'MemTotal:       16128000 kB\n',
  '/proc/self/status': 'Cpus_allowed_list:\t0-7\n',
  '/sys/devices/system/cpu/online': '0-7\n',
  ...per(LITTLE, cpuFile('cpufreq/cpuinfo_max_freq', '1800000\n')),
  ...per(LITTLE, cpuFile('cpu_capacity', '530\n')),
  ...per([4, 5], cpuFile('cpufreq/cpuinfo_max_freq', '2400000\n')),
  ...per([4, 5], cpuFile('cpu_capacity', '1024\n')),
  ...per([6, 7], cpuFile('cpufreq/cpuinfo_max_freq', '2304000\n')),
  ...per([6, 7], cpuFile('cpu_capacity', '983\n')),
}

/** A cloud machine without clock, sensors or cgroups. */
export const VIRTUAL_X64: Files = {
  '/proc/cpuinfo': [0, 1]
    .map(
      (id) => `processor\t: ${id}
vendor_id\t: AuthenticAMD
cpu family\t: 25
model\t\t: 17
model name\t: AMD EPYC
cpu MHz\t\t: 2596.136
flags\t\t: fpu sse sse2 ssse3 fma cx16 sse4_1 sse4_2 avx f16c avx2 avx512f avx512dq avx512bw avx512vl avx512_vnni avx512_bf16
bugs\t\t: spectre_v1
`,
    )
    .join('\n'),
  '/proc/meminfo': 'MemTotal:       24684396 kB\n',
  '/proc/self/status': 'Cpus_allowed_list:\t0-1\n',
  '/sys/devices/system/cpu/online': '0-1\n',
  '/sys/devices/system/cpu/cpu0/cache/index3/level': '3\n',
  '/sys/devices/system/cpu/cpu0/cache/index3/type': 'Unified\n',
  '/sys/devices/system/cpu/cpu0/cache/index3/size': '32M\n',
}

/** A laptop with fast and slow cores. The kernel's capacities of equal cores differ a little. */
export const HYBRID_X64: Files = {
  '/proc/cpuinfo': FOUR.map(
    (id) => `processor\t: ${id}\nmodel name\t: Intel(R) Core(TM) Ultra 5\nflags\t\t: avx2 fma avx_vnni\n`,
  ).join('\n'),
  '/sys/devices/system/cpu/online': '0-3\n',
  '/sys/devices/cpu_core/cpus': '0-1\n',
  '/sys/devices/cpu_atom/cpus': '2-3\n',
  '/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq': '4500000\n',
  '/sys/devices/system/cpu/cpu1/cpufreq/cpuinfo_max_freq': '4400000\n',
  ...per([2, 3], cpuFile('cpufreq/cpuinfo_max_freq', '3600000\n')),
}
