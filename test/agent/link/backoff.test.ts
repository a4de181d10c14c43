import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { backoffDelayMs } from '../../../agent/link/backoff.ts'

const backoff = { baseMs: 1_000, capMs: 60_000 }

describe('backoffDelayMs', () => {
  it.each([
    [0, 999],
    [1, 1_999],
    [5, 31_999],
    [6, 59_999],
    [5_000, 59_999],
  ])('allows at most, after %i failures, %i ms', (attempt, longestMs) => {
    expect(backoffDelayMs(attempt, backoff, () => 1 - Number.EPSILON)).toBe(longestMs)
  })

  it('spreads evenly from nothing to the longest delay', () => {
    fc.assert(
      fc.property(fc.nat(100), fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), (attempt, share) => {
        const longestMs = Math.min(60_000, 1_000 * 2 ** attempt)

        expect(backoffDelayMs(attempt, backoff, () => share)).toBe(Math.floor(share * longestMs))
      }),
    )
  })
})
