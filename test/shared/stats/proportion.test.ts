import { describe, expect, it } from 'vitest'
import { absoluteFloor, wilsonInterval } from '../../../shared/stats/index.ts'

describe('wilsonInterval', () => {
  it('agrees with statsmodels proportion_confint(method="wilson")', () => {
    const { lower, upper } = wilsonInterval(95, 100)

    expect(lower).toBeCloseTo(0.8882495307680808, 6)
    expect(upper).toBeCloseTo(0.9784563208456319, 6)
  })

  it('stays within [0, 1] at the edges and keeps a width', () => {
    expect(wilsonInterval(0, 10).lower).toBe(0)
    expect(wilsonInterval(10, 10).upper).toBe(1)
    expect(wilsonInterval(10, 10).lower).toBeLessThan(0.8)
  })

  it('refuses what is not a proportion', () => {
    expect(() => wilsonInterval(3, 2)).toThrow(/3 successes of 2/)
    expect(() => wilsonInterval(0, 0)).toThrow(RangeError)
  })
})

describe('absoluteFloor', () => {
  it('decides three ways, consistently with its bounds', () => {
    for (let correct = 0; correct <= 200; correct += 1) {
      const { decision, lower, upper } = absoluteFloor(correct, 200, 0.9)
      if (decision === 'holds') expect(lower).toBeGreaterThanOrEqual(0.9)
      else if (decision === 'violated') expect(upper).toBeLessThanOrEqual(0.9)
      else expect(lower < 0.9 && upper > 0.9).toBe(true)
    }
    expect(absoluteFloor(190, 200, 0.9).decision).toBe('holds')
    expect(absoluteFloor(170, 200, 0.9).decision).toBe('violated')
    expect(absoluteFloor(184, 200, 0.9).decision).toBe('undecided')
  })

  it('says how many samples decide: that many at the same share do, a tenth fewer do not', () => {
    const { samplesNeeded = 0 } = absoluteFloor(184, 200, 0.9)

    expect(absoluteFloor(0.92 * samplesNeeded, samplesNeeded, 0.9).decision).toBe('holds')
    expect(absoluteFloor(0.92 * samplesNeeded * 0.9, samplesNeeded * 0.9, 0.9).decision).toBe('undecided')
  })

  it('has no number of samples to offer when the estimate is at the floor', () => {
    expect(absoluteFloor(90, 100, 0.9).samplesNeeded).toBeUndefined()
  })

  it('never proves perfection and disproves it by one error', () => {
    expect(absoluteFloor(100, 100, 1).decision).toBe('undecided')
    expect(absoluteFloor(99, 100, 1).decision).toBe('violated')
  })
})
