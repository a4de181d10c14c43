import { describe, expect, it } from 'vitest'
import { OBJECTIVE_OPTIONS, objectiveFromFlags } from '../../../shared/model/index.ts'

describe('an objective from options', () => {
  it.each(Object.entries(OBJECTIVE_OPTIONS))('has %s under the name that its option is read by', (name, { flags }) => {
    const [, words = ''] = /^--([a-z0-9-]+) </.exec(flags) ?? []

    expect(words.replace(/-([a-z0-9])/g, (_, letter: string) => letter.toUpperCase())).toBe(name)
  })

  it('takes one floor of accuracy, in times of fp32 or absolute, and sizes in MiB', () => {
    const budget = { latencyP90Ms: 5, minimize: 'size' }

    expect(objectiveFromFlags({ ...budget, accuracyFloor: 0.99, maxMemoryMib: 1.5 })).toEqual({
      latencyP90Ms: 5,
      accuracy: { kind: 'relative', value: 0.99 },
      memoryBytes: 1_572_864,
      minimize: 'size',
    })
    expect(objectiveFromFlags({ ...budget, accuracyMin: 0.9, maxSizeMib: 2 })).toMatchObject({
      accuracy: { kind: 'absolute', value: 0.9 },
      sizeBytes: 2_097_152,
    })
    expect(() => objectiveFromFlags({ ...budget, accuracyFloor: 0.99, accuracyMin: 0.9 })).toThrow(/exclude each other/)
  })
})
