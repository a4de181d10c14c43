import { describe, expect, it } from 'vitest'
import { type ConfiguredLimits, readLimits } from '../../../agent/profile/limits.ts'
import { box, type Files, RASPBERRY_PI_4 } from './boxes.ts'

const GIB = 2 ** 30
const machine = { online: [0, 1, 2, 3], memoryBytes: 4 * GIB }

const limitsOf = (files: Files, configured: ConfiguredLimits = {}) =>
  readLimits(box(RASPBERRY_PI_4, files), machine, configured).limits

describe('the limits of this process', () => {
  it('are none on a bare box', () => {
    expect(limitsOf({})).toEqual({ cpus: 4, memoryBytes: null, source: 'none' })
    expect(readLimits(box({}), machine, {}).limits).toEqual({ cpus: 4, memoryBytes: null, source: 'none' })
  })

  it('follow the affinity', () => {
    expect(limitsOf({ '/proc/self/status': 'Cpus_allowed_list:\t2-3\n' })).toMatchObject({
      cpus: 2,
      source: 'affinity',
    })
  })

  it('follow control groups version 2, those above the own one too', () => {
    const files = {
      '/sys/fs/cgroup/system.slice/edgefit-agent.service/cpu.max': 'max 100000\n',
      '/sys/fs/cgroup/system.slice/cpu.max': '150000 100000\n',
      '/sys/fs/cgroup/system.slice/edgefit-agent.service/memory.max': `${GIB}\n`,
      '/sys/fs/cgroup/system.slice/edgefit-agent.service/memory.high': `${GIB / 2}\n`,
    }

    expect(limitsOf(files)).toEqual({ cpus: 1.5, memoryBytes: GIB / 2, source: 'cgroup-v2' })
  })

  it('follow control groups version 1', () => {
    const files = {
      '/proc/self/cgroup': '9:name=systemd:/\n4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n1:cpuset:/\n0::/\n',
      '/sys/fs/cgroup/cgroup.controllers': '',
      '/sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us': '50000\n',
      '/sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us': '100000\n',
      '/sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes': `${2 * GIB}\n`,
      '/sys/fs/cgroup/memory/memory.limit_in_bytes': '9223372036854771712\n',
    }

    const { '/sys/fs/cgroup/cgroup.controllers': _, ...withoutV2 } = { ...RASPBERRY_PI_4, ...files }
    expect(readLimits(box(withoutV2), machine, {}).limits).toEqual({
      cpus: 0.5,
      memoryBytes: 2 * GIB,
      source: 'cgroup-v1',
    })
  })

  it('are seen from inside a container, whose groups are mounted without the path of the host', () => {
    const { '/sys/fs/cgroup/cgroup.controllers': _, ...withoutV2 } = RASPBERRY_PI_4
    const files = {
      ...withoutV2,
      '/proc/self/cgroup': '4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n',
      '/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us': '100000\n',
      '/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us': '100000\n',
      '/sys/fs/cgroup/memory/memory.limit_in_bytes': `${GIB}\n`,
    }

    expect(readLimits(box(files), machine, {}).limits).toEqual({ cpus: 1, memoryBytes: GIB, source: 'cgroup-v1' })
  })

  it('take no quota of -1 and no memory above the machine for a limit', () => {
    const { '/sys/fs/cgroup/cgroup.controllers': _, ...withoutV2 } = RASPBERRY_PI_4
    const files = {
      ...withoutV2,
      '/proc/self/cgroup': '4:memory:/\n2:cpu:/\n',
      '/sys/fs/cgroup/cpu/cpu.cfs_quota_us': '-1\n',
      '/sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000\n',
      '/sys/fs/cgroup/memory/memory.limit_in_bytes': `${8 * GIB}\n`,
    }

    expect(readLimits(box(files), machine, {}).limits).toEqual({ cpus: 4, memoryBytes: null, source: 'none' })
  })

  it('follow the configuration where that is tighter', () => {
    const quota = { '/sys/fs/cgroup/cpu.max': '250000 100000\n' }

    expect(limitsOf(quota, { maxThreads: 2, memoryBytes: GIB })).toEqual({
      cpus: 2,
      memoryBytes: GIB,
      source: 'configured',
    })
    expect(limitsOf(quota, { maxThreads: 3 })).toMatchObject({ cpus: 2.5, source: 'cgroup-v2' })
    expect(readLimits(box(RASPBERRY_PI_4), machine, { cpus: '1,3' })).toMatchObject({
      cpuIds: [1, 3],
      limits: { cpus: 2, source: 'configured' },
    })
  })

  it('refuse CPUs that are not there', () => {
    const status = { '/proc/self/status': 'Cpus_allowed_list:\t0-1\n' }

    expect(() => limitsOf(status, { cpus: '1-2' })).toThrow('cpus: 1-2 is not among the CPUs')
  })
})
