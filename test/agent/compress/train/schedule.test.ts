import type { Training } from '@edgefit/shared/model'
import { describe, expect, it } from 'vitest'
import { rateFactor } from '../../../../agent/compress/train/schedule.ts'

const factors = (schedule: Training['schedule'], steps: number) =>
  Array.from({ length: steps }, (_, step) => Number(rateFactor(schedule, step, steps).toFixed(4)))

describe('the learning rate', () => {
  it('stays', () => {
    expect(factors({ kind: 'constant', warmUpSteps: 0 }, 3)).toEqual([1, 1, 1])
  })

  it('falls by a cosine to its final part at the last step', () => {
    expect(factors({ kind: 'cosine', warmUpSteps: 0, finalRatio: 0.1 }, 5)).toEqual([1, 0.8682, 0.55, 0.2318, 0.1])
  })

  it('falls in steps', () => {
    expect(factors({ kind: 'step', warmUpSteps: 0, everySteps: 2, factor: 0.5 }, 6)).toEqual([
      1, 1, 0.5, 0.5, 0.25, 0.25,
    ])
  })

  it('rises from zero first, in equal parts', () => {
    expect(factors({ kind: 'constant', warmUpSteps: 3 }, 5)).toEqual([0.25, 0.5, 0.75, 1, 1])
    expect(factors({ kind: 'cosine', warmUpSteps: 1, finalRatio: 0 }, 4)).toEqual([0.5, 1, 0.5, 0])
  })
})
