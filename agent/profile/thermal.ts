import type { SystemFiles } from './system-files.ts'

/** How the CPU was clocked and cooled at one moment. Null and empty where the box has no such sensor. */
export interface ThermalState {
  /** The hottest CPU sensor. */
  readonly temperatureC: number | null
  /** Current clock of the fastest core. */
  readonly frequencyMhz: number | null
  /** Since boot, over all cores and packages (x86). */
  readonly throttleCount: number | null
  /** What is holding the CPU back right now, in words. */
  readonly holding: readonly string[]
}

const CPU_DEVICES = '/sys/devices/system/cpu'

export function readThermalState(files: SystemFiles): ThermalState {
  return {
    temperatureC: cpuTemperatureC(files),
    frequencyMhz: fastestClockMhz(files),
    throttleCount: throttleCount(files),
    holding: [...activeCoolers(files), ...firmwareLimits(files)],
  }
}

/** The hottest of the sensors that say they are the CPU's; of all zones when none says so. */
export function cpuTemperatureC(files: SystemFiles): number | null {
  const zones = devices(files, '/sys/class/thermal', /^thermal_zone\d+$/).map((zone) => ({
    type: files.text(`${zone}/type`) ?? '',
    milliC: files.number(`${zone}/temp`),
  }))
  const chips = devices(files, '/sys/class/hwmon', /^hwmon\d+$/).map((chip) => ({
    type: files.text(`${chip}/name`) ?? '',
    milliC: files.number(`${chip}/temp1_input`),
  }))
  const ofCpu = [...zones, ...chips].filter(({ type }) => /cpu|soc|x86_pkg|coretemp|k10temp|zenpower/i.test(type))
  const candidates = ofCpu.length > 0 ? ofCpu : zones
  const readings = candidates.flatMap(({ milliC }) => milliC ?? [])
  return readings.length === 0 ? null : Math.max(...readings) / 1000
}

function fastestClockMhz(files: SystemFiles): number | null {
  const clocksKhz = devices(files, CPU_DEVICES, /^cpu\d+$/).flatMap(
    (cpu) => files.number(`${cpu}/cpufreq/scaling_cur_freq`) ?? [],
  )
  return clocksKhz.length === 0 ? null : Math.max(...clocksKhz) / 1000
}

function throttleCount(files: SystemFiles): number | null {
  const counts = devices(files, CPU_DEVICES, /^cpu\d+$/).flatMap((cpu) =>
    ['core', 'package'].flatMap((scope) => files.number(`${cpu}/thermal_throttle/${scope}_throttle_count`) ?? []),
  )
  return counts.length === 0 ? null : counts.reduce((sum, count) => sum + count, 0)
}

/** Linux lowers the clock for heat through cooling devices; state 0 is none of it. */
function activeCoolers(files: SystemFiles): string[] {
  return devices(files, '/sys/class/thermal', /^cooling_device\d+$/).flatMap((device) => {
    const type = files.text(`${device}/type`) ?? ''
    const state = files.number(`${device}/cur_state`) ?? 0
    return /cpu|^Processor$/i.test(type) && state > 0 ? [`${type} at state ${state}`] : []
  })
}

/** Raspberry Pi firmware lowers the clock behind Linux's back. Bits of `vcgencmd get_throttled`, those of now. */
const FIRMWARE_BITS = ['under-voltage', 'clock capped', 'throttled', 'soft temperature limit'] as const

function firmwareLimits(files: SystemFiles): string[] {
  const text = files.text('/sys/devices/platform/soc/soc:firmware/get_throttled')
  const bits = text === undefined ? 0 : Number.parseInt(text, 16)
  return FIRMWARE_BITS.filter((_, bit) => bits & (1 << bit))
}

function devices(files: SystemFiles, directory: string, name: RegExp): string[] {
  return files
    .list(directory)
    .filter((entry) => name.test(entry))
    .map((entry) => `${directory}/${entry}`)
}
