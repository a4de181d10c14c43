import { describe, expect, it } from 'vitest'
import { wasThrottled } from '../../../agent/measure/throttling.ts'
import { readThermalState, type ThermalState } from '../../../agent/profile/thermal.ts'
import { box, RASPBERRY_PI_4, VIRTUAL_X64 } from './boxes.ts'

describe('the thermal state', () => {
  it('is read on a Raspberry Pi', () => {
    expect(readThermalState(box(RASPBERRY_PI_4))).toEqual({
      temperatureC: 48.686,
      frequencyMhz: 1500,
      throttleCount: null,
      holding: [],
    })
  })

  it('is unknown on a virtual machine', () => {
    expect(readThermalState(box(VIRTUAL_X64))).toEqual({
      temperatureC: null,
      frequencyMhz: null,
      throttleCount: null,
      holding: [],
    })
  })

  it('names what the firmware of a Raspberry Pi does now, not what it once did', () => {
    const throttled = (bits: string) =>
      readThermalState(box(RASPBERRY_PI_4, { '/sys/devices/platform/soc/soc:firmware/get_throttled': bits })).holding

    expect(throttled('50005\n')).toEqual(['under-voltage', 'throttled'])
    expect(throttled('50000\n')).toEqual([])
  })

  it('sees an active cooler of the CPU, but not a fan', () => {
    const { holding } = readThermalState(
      box({
        '/sys/class/thermal/cooling_device0/type': 'pwm-fan\n',
        '/sys/class/thermal/cooling_device0/cur_state': '2\n',
        '/sys/class/thermal/cooling_device1/type': 'thermal-cpufreq-0\n',
        '/sys/class/thermal/cooling_device1/cur_state': '3\n',
      }),
    )

    expect(holding).toEqual(['thermal-cpufreq-0 at state 3'])
  })

  it('takes the hottest CPU sensor and counts the throttling of all cores', () => {
    const state = readThermalState(
      box({
        '/sys/class/thermal/thermal_zone0/type': 'iwlwifi_1\n',
        '/sys/class/thermal/thermal_zone0/temp': '90000\n',
        '/sys/class/thermal/thermal_zone1/type': 'x86_pkg_temp\n',
        '/sys/class/thermal/thermal_zone1/temp': '61000\n',
        '/sys/class/hwmon/hwmon2/name': 'coretemp\n',
        '/sys/class/hwmon/hwmon2/temp1_input': '63000\n',
        '/sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count': '4\n',
        '/sys/devices/system/cpu/cpu1/thermal_throttle/package_throttle_count': '2\n',
      }),
    )

    expect(state).toMatchObject({ temperatureC: 63, throttleCount: 6 })
  })
})

describe('throttling', () => {
  const cool: ThermalState = { temperatureC: 50, frequencyMhz: 1800, throttleCount: 3, holding: [] }

  it.each<[string, ThermalState, ThermalState, number, boolean]>([
    ['nothing changed', cool, cool, 0, false],
    ['it became hot, but kept its clock', cool, { ...cool, temperatureC: 79 }, 0, false],
    ['the clock dropped', cool, { ...cool, frequencyMhz: 1500 }, 0, true],
    ['the clock wavered', cool, { ...cool, frequencyMhz: 1600 }, 0, false],
    ['the count rose', cool, { ...cool, throttleCount: 4 }, 0, true],
    ['a cooler was at work before', { ...cool, holding: ['throttled'] }, cool, 0, true],
    ['a cooler was at work after', cool, { ...cool, holding: ['throttled'] }, 0, true],
    ['it slowed down', cool, cool, 0.25, true],
    ['it became faster', cool, cool, -0.25, false],
  ])('is judged when %s', (_, before, after, drift, expected) => {
    expect(wasThrottled(before, after, drift)).toBe(expected)
  })
})
