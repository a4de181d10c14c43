import { Profile } from '@edgefit/shared/model'
import { describe, expect, it } from 'vitest'
import type { JobRunner } from '../../../agent/measure/runner.ts'
import type { ConfiguredLimits } from '../../../agent/profile/limits.ts'
import { profileDevice } from '../../../agent/profile/profile-device.ts'
import { box, type Files, RASPBERRY_PI_4, RASPBERRY_PI_5, ROCK_5B, VIRTUAL_X64 } from './boxes.ts'

const FIGURES = { fp32Gflops: 12, int8Gops: 40, memoryGBps: 4 }

/** Answers the one job that a profile needs, without a process. */
const runner = (answer: unknown): JobRunner => ({
  run: ((job) => {
    expect(job.kind).toBe('profile-bench')
    return Promise.resolve(answer)
  }) as JobRunner['run'],
})
const measured = runner({ kind: 'done', value: FIGURES, peakRssBytes: 1 })

interface Given {
  readonly limits?: ConfiguredLimits
  readonly architecture?: string
  readonly answer?: JobRunner
}

const profileOf = (files: readonly Files[], { limits = {}, architecture = 'arm64', answer = measured }: Given = {}) =>
  profileDevice(
    { runner: answer, agentVersion: '0.1.0', limits, files: box(...files), architecture },
    AbortSignal.timeout(5000),
  )

const classOf = async (...given: Parameters<typeof profileOf>) => (await profileOf(...given)).hardwareClass

describe('a profile', () => {
  it.each([
    ['a Raspberry Pi 4', RASPBERRY_PI_4, 'arm64'],
    ['a Rock 5B', ROCK_5B, 'arm64'],
    ['a virtual x64 machine', VIRTUAL_X64, 'x64'],
  ])('of %s is one', async (_, files, architecture) => {
    const profile = await profileOf([files], { architecture })

    expect(Profile.parse(profile)).toEqual(profile)
    expect(profile.hardwareClass).toMatch(new RegExp(`^${architecture}-[0-9a-f]{12}$`))
    expect(profile.measured).toEqual(FIGURES)
  })

  it('says what the box is', async () => {
    expect(await profileOf([RASPBERRY_PI_4])).toMatchObject({
      memoryBytes: 3_884_360 * 1024,
      os: { name: 'Debian GNU/Linux 12 (bookworm)', kernel: '6.6.31+rpt-rpi-v8' },
      governor: 'ondemand',
      temperatureC: 48.686,
      runtimeVersion: '1.30.0',
      limits: { cpus: 4, memoryBytes: null, source: 'none' },
    })
  })

  it('does without figures when the child gave none', async () => {
    const failed = runner({ kind: 'failed', reason: 'crashed', message: 'signal SIGILL' })

    expect((await profileOf([RASPBERRY_PI_4], { answer: failed })).measured).toBeNull()
  })

  it('is refused on an architecture without a runtime', async () => {
    await expect(profileOf([RASPBERRY_PI_4], { architecture: 'arm' })).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
  })
})

describe('the hardware class', () => {
  it('survives a reboot, a kernel update, heat and a new board revision', async () => {
    const later = {
      '/proc/meminfo': 'MemTotal:        3790000 kB\n',
      '/proc/sys/kernel/osrelease': '6.12.1\n',
      '/sys/class/thermal/thermal_zone0/temp': '81000\n',
      '/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq': '600000\n',
      '/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor': 'performance\n',
      '/proc/device-tree/model': 'Raspberry Pi 4 Model B Rev 1.5\0',
    }

    expect(await classOf([RASPBERRY_PI_4, later])).toBe(await classOf([RASPBERRY_PI_4]))
  })

  it.each<[string, Files]>([
    ['another board', RASPBERRY_PI_5],
    [
      'another feature',
      { '/proc/cpuinfo': RASPBERRY_PI_4['/proc/cpuinfo']?.replaceAll('asimd', 'asimd asimddp') ?? '' },
    ],
    ['half the memory', { '/proc/meminfo': 'MemTotal:        1890000 kB\n' }],
    [
      'another clock',
      Object.fromEntries(
        [0, 1, 2, 3].map((id) => [`/sys/devices/system/cpu/cpu${id}/cpufreq/cpuinfo_max_freq`, '1500000']),
      ),
    ],
    ['another cache', { '/sys/devices/system/cpu/cpu0/cache/index2/size': '512K\n' }],
    ['a CPU quota', { '/sys/fs/cgroup/cpu.max': '200000 100000\n' }],
  ])('differs with %s', async (_, files) => {
    expect(await classOf([RASPBERRY_PI_4, files])).not.toBe(await classOf([RASPBERRY_PI_4]))
  })

  it('differs between the big and the small cores of a chip', async () => {
    const [big, small, whole] = await Promise.all([
      classOf([ROCK_5B], { limits: { cpus: '4-7' } }),
      classOf([ROCK_5B], { limits: { cpus: '0-3' } }),
      classOf([ROCK_5B]),
    ])

    expect(new Set([big, small, whole]).size).toBe(3)
  })
})
