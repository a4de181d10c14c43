import { describe, expect, it } from 'vitest'
import { driftBetween } from '../../../agent/deploy/drift.ts'
import { measurement } from '../../support/measurements.ts'

const at = (p90BoundMs: number, noise = 0.01) => ({ ...measurement({ p90BoundMs }), noise })

describe('driftBetween', () => {
  it.each([
    [1, 1.04, 0.01, false],
    [1, 1.06, 0.01, true],
    [1, 0.9, 0.01, true],
    [1, 1.3, 0.1, false],
    [1, 1.5, 0.1, true],
  ])('from %f ms to %f ms at noise %f: drifted %s', (then, now, noise, drifted) => {
    expect(driftBetween(at(then, noise), at(now, noise)).drifted).toBe(drifted)
  })

  it('gives the ratio within its band', () => {
    const { ratio, low, high } = driftBetween(at(1), at(2))

    expect(ratio).toBeCloseTo(2)
    expect(low).toBeLessThan(ratio)
    expect(high).toBeGreaterThan(ratio)
  })
})
