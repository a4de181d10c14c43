import { describe, expect, it } from 'vitest'
import { readCpu } from '../../../agent/profile/cpu.ts'
import { parseCpuList } from '../../../agent/profile/cpu-list.ts'
import { box, type Files, HYBRID_X64, RASPBERRY_PI_4, RASPBERRY_PI_5, ROCK_5B, VIRTUAL_X64 } from './boxes.ts'

const read = (...files: readonly Files[]) => {
  const { coresAmong, online, ...cpu } = readCpu(box(...files), 1)
  return { ...cpu, cores: coresAmong(online) }
}

describe('the CPU of a box', () => {
  it('is known on a Raspberry Pi 4', () => {
    expect(read(RASPBERRY_PI_4)).toEqual({
      model: 'Raspberry Pi 4 Model B Rev 1.4',
      features: ['asimd'],
      logicalCores: 4,
      cachesBytes: { l1d: 32_768, l2: 1_048_576, l3: null },
      cores: [{ kind: 'Cortex-A72', count: 4, maxMhz: 1800 }],
    })
  })

  it('has the dot product on a Raspberry Pi 5', () => {
    const { features, cores } = read(RASPBERRY_PI_5)

    expect(features).toEqual(['asimd', 'asimddp', 'asimdhp', 'fphp'])
    expect(cores).toEqual([{ kind: 'Cortex-A76', count: 4, maxMhz: 2400 }])
  })

  it('is grouped by kind and clock where clusters differ, fastest first', () => {
    expect(read(ROCK_5B).cores).toEqual([
      { kind: 'Cortex-A76', count: 2, maxMhz: 2400 },
      { kind: 'Cortex-A76', count: 2, maxMhz: 2304 },
      { kind: 'Cortex-A55', count: 4, maxMhz: 1800 },
    ])
  })

  it('has only the features that all its cores have', () => {
    expect(read(ROCK_5B).features).not.toContain('sve')
  })

  it('is named by its cores where no board is', () => {
    expect(read(ROCK_5B, { '/proc/device-tree/model': '' }).model).toBe('Cortex-A76 + Cortex-A55')
  })

  it('names an unknown arm core by its numbers', () => {
    const cpuinfo = RASPBERRY_PI_4['/proc/cpuinfo']?.replaceAll('0xd08', '0xfff') ?? ''

    expect(read(RASPBERRY_PI_4, { '/proc/cpuinfo': cpuinfo }).cores[0]?.kind).toBe('arm 0x41/0xfff')
  })

  it('is known on a virtual x64 machine without a clock', () => {
    expect(read(VIRTUAL_X64)).toEqual({
      model: 'AMD EPYC',
      features: [
        ...['avx', 'avx2', 'avx512_bf16', 'avx512_vnni', 'avx512bw', 'avx512dq', 'avx512f', 'avx512vl'],
        ...['f16c', 'fma', 'sse4_1'],
      ],
      logicalCores: 2,
      cachesBytes: { l1d: null, l2: null, l3: 33_554_432 },
      cores: [{ kind: 'core', count: 2, maxMhz: null }],
    })
  })

  it('tells fast from slow cores of a hybrid x64 CPU, whatever the luck of a single one', () => {
    expect(read(HYBRID_X64).cores).toEqual([
      { kind: 'performance', count: 2, maxMhz: 4500 },
      { kind: 'efficiency', count: 2, maxMhz: 3600 },
    ])
  })

  it('is counted where nothing is told', () => {
    expect(readCpu(box({}), 3)).toMatchObject({ model: 'unknown', logicalCores: 3, online: [0, 1, 2] })
  })
})

describe('a list of CPUs', () => {
  it.each([
    ['0-3', [0, 1, 2, 3]],
    ['0,2-3,8', [0, 2, 3, 8]],
    ['5\n', [5]],
    ['', []],
  ])('reads %j', (text, expected) => {
    expect(parseCpuList(text)).toEqual(expected)
  })
})
