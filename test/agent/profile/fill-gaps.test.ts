import { describe, expect, it } from 'vitest'
import { fillCpuGaps, fillTemperature } from '../../../agent/profile/fill-gaps.ts'

const CACHES = { l1d: 1, l2: 2, l3: 3 }

describe('fillCpuGaps', () => {
  it('keeps what the files told', async () => {
    const told = { model: 'Raspberry Pi 5 Model B', cachesBytes: CACHES, features: ['asimddp'] }

    expect(await fillCpuGaps(told)).toBe(told)
  })

  it('names this CPU where the files do not, and invents no cache', async () => {
    const filled = await fillCpuGaps({ model: 'unknown', cachesBytes: { l1d: 7, l2: null, l3: null } })

    expect(filled.model).not.toBe('')
    expect(filled.cachesBytes.l1d).toBe(7)
    for (const bytes of Object.values(filled.cachesBytes)) expect(bytes === null || bytes > 0).toBe(true)
  })
})

describe('fillTemperature', () => {
  it('prefers the thermal zones', async () => {
    expect(await fillTemperature(41.5)).toBe(41.5)
  })

  it('gives a temperature or none, never a placeholder', async () => {
    const temperatureC = await fillTemperature(null)

    expect(temperatureC === null || temperatureC > 0).toBe(true)
  })
})
