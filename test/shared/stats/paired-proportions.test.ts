import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  type PairedCounts,
  pairedRelativeFloor,
  pairOutcomes,
  type Random,
  seededRandom,
} from '../../../shared/stats/index.ts'

const counts = (both: number, onlyVariant: number, onlyBaseline: number, neither: number): PairedCounts => ({
  both,
  onlyVariant,
  onlyBaseline,
  neither,
})

// Airway hyper-responsiveness before and after stem cell transplantation (Bentur et al. 2009), the worked example of
// Fagerland, Lydersen and Laake 2014, Statistics in Medicine 33, 2850-2875.
const AIRWAY = counts(1, 1, 7, 12)

describe('pairedRelativeFloor', () => {
  it('reproduces the Tang ratio interval of Fagerland et al. 2014', () => {
    // One-sided bounds at 0.975 are the two-sided interval at 0.95.
    const { estimate, lower, upper } = pairedRelativeFloor(AIRWAY, 0.5, 0.975)

    expect(estimate).toBe(0.25)
    expect(lower).toBeCloseTo(0.065, 3)
    expect(upper).toBeCloseTo(0.907, 3)
  })

  it('has bounds at which a search for the constrained likelihood gives the same statistic', () => {
    for (const table of [counts(870, 14, 22, 94), counts(40, 3, 0, 7), counts(40, 0, 3, 7), counts(12, 30, 2, 6)]) {
      const { lower, upper } = pairedRelativeFloor(table, 0.9)

      expect(searchedScore(table, lower)).toBeCloseTo(1.6448536, 4)
      expect(searchedScore(table, upper)).toBeCloseTo(-1.6448536, 4)
    }
  })

  it('decides in accord with its bounds', () => {
    const cell = fc.integer({ min: 0, max: 400 })
    fc.assert(
      fc.property(cell, cell, cell, cell, fc.double({ min: 0.5, max: 1, noNaN: true }), (a, b, c, d, value) => {
        fc.pre(a + c > 0)
        const { decision, basis, estimate, lower, upper } = pairedRelativeFloor(counts(a, b, c, d), value)
        expect(lower).toBeLessThanOrEqual(estimate)
        expect(upper).toBeGreaterThanOrEqual(estimate)
        if (basis === 'identity') expect(decision).toBe('holds')
        else if (decision === 'holds') expect(lower).toBeGreaterThanOrEqual(value - 1e-9)
        else if (decision === 'violated') expect(upper).toBeLessThanOrEqual(value + 1e-9)
        else expect(lower <= value + 1e-9 && upper >= value - 1e-9).toBe(true)
      }),
    )
  })

  it('lets fp32 pass against itself, whatever the number of samples', () => {
    for (const table of [counts(9, 0, 0, 1), counts(900, 0, 0, 100)]) {
      expect(pairedRelativeFloor(table, 1)).toMatchObject({ decision: 'holds', basis: 'identity', estimate: 1 })
    }
    expect(pairedRelativeFloor(counts(900, 0, 0, 100), 1.01).decision).toBe('violated')
  })

  it('shows by its lower bound what identical outcomes prove', () => {
    expect(pairedRelativeFloor(counts(267, 0, 0, 33), 0.99).lower).toBeLessThan(0.99)
    expect(pairedRelativeFloor(counts(268, 0, 0, 32), 0.99).lower).toBeGreaterThanOrEqual(0.99)
  })

  it('says how many samples decide: as many at the same shares do, fewer do not', () => {
    const times = (factor: number) => counts(900 * factor, 10 * factor, 12 * factor, 78 * factor)
    const { decision, samplesNeeded = 0 } = pairedRelativeFloor(times(1), 0.995)
    const thousands = samplesNeeded / 1000

    expect(decision).toBe('undecided')
    expect(thousands).toBeGreaterThan(5)
    expect(pairedRelativeFloor(times(Math.ceil(thousands)), 0.995).decision).toBe('holds')
    expect(pairedRelativeFloor(times(Math.floor(thousands)), 0.995).decision).toBe('undecided')
  })

  it('decides the extremes', () => {
    expect(pairedRelativeFloor(counts(0, 0, 10, 0), 0.99)).toMatchObject({
      decision: 'violated',
      estimate: 0,
      lower: 0,
    })
    expect(pairedRelativeFloor(counts(0, 9, 1, 0), 0.99).decision).toBe('holds')
    expect(pairedRelativeFloor(counts(5, 1, 1, 5), 1)).not.toHaveProperty('samplesNeeded')
  })

  it('refuses a floor relative to a model that is never right, and no samples', () => {
    expect(() => pairedRelativeFloor(counts(0, 3, 0, 7), 0.99)).toThrow(/right on none of 10 samples.*labels/)
    expect(() => pairedRelativeFloor(counts(0, 0, 0, 0), 0.99)).toThrow(/no samples/)
    expect(() => pairedRelativeFloor(counts(1.5, 0, 0, 0), 0.99)).toThrow(/1.5 is not a count/)
  })

  // At the floor exactly, a test of level 5 % may pass one variant in twenty.
  it.each([
    ['400 samples, much discordance', 400, [0.85, 0.04, 0.05, 0.06], 7],
    ['1000 samples, little discordance', 1000, [0.89, 0.004, 0.01, 0.096], 8],
    ['200 samples, weak models', 200, [0.4, 0.1, 0.12, 0.38], 9],
  ] as const)('passes a variant at the floor about 1 time in 20: %s', (_, samples, shares, seed) => {
    const [both, onlyVariant, onlyBaseline] = shares
    const floor = (both + onlyVariant) / (both + onlyBaseline)
    const random = seededRandom(seed)
    const repeats = 4000
    const decisions = { holds: 0, violated: 0, undecided: 0 }
    for (let repeat = 0; repeat < repeats; repeat += 1) {
      decisions[pairedRelativeFloor(draw(samples, shares, random), floor).decision] += 1
    }

    expect(decisions.holds / repeats).toBeGreaterThan(0.03)
    expect(decisions.holds / repeats).toBeLessThan(0.065)
    expect(decisions.violated / repeats).toBeGreaterThan(0.03)
    expect(decisions.violated / repeats).toBeLessThan(0.065)
  })
})

describe('pairOutcomes', () => {
  it('counts who was right', () => {
    expect(pairOutcomes([1, 1, 0, 0, 1], [true, false, true, false, true])).toEqual(counts(2, 1, 1, 1))
  })

  it('refuses outcomes that do not pair', () => {
    expect(() => pairOutcomes([1], [1, 0])).toThrow(/1 outcomes .* 2/)
  })
})

function draw(samples: number, shares: readonly [number, number, number, number], random: Random): PairedCounts {
  const cells = [0, 0, 0, 0] as [number, number, number, number]
  for (let sample = 0; sample < samples; sample += 1) {
    let left = random()
    let cell = 0
    while (cell < 3 && left >= (shares[cell] ?? 0)) {
      left -= shares[cell] ?? 0
      cell += 1
    }
    cells[cell] = (cells[cell] ?? 0) + 1
  }
  return counts(...cells)
}

/** The score statistic with its nuisance parameter found by search over the likelihood, not by the closed form. */
function searchedScore({ both: a, onlyVariant: b, onlyBaseline: c, neither: d }: PairedCounts, ratio: number): number {
  const n = a + b + c + d
  const share = (a + b + c) / n
  const cells = (y: number) => {
    const other = (1 - ratio) * share + ratio * y
    return [share - y - other, y, other] as const
  }
  const term = (count: number, p: number) => (count === 0 ? 0 : count * Math.log(p))
  const likelihood = (y: number) => {
    const [p, q, r] = cells(y)
    if (p < 0 || q < 0 || r < 0) return Number.NEGATIVE_INFINITY
    return term(a, p) + term(b, q) + term(c, r)
  }
  let [low, high] = [Math.max(0, ((ratio - 1) * share) / ratio), (ratio * share) / (1 + ratio)]
  for (let step = 0; step < 300; step += 1) {
    const [left, right] = [low + (high - low) / 3, high - (high - low) / 3]
    if (likelihood(left) < likelihood(right)) low = left
    else high = right
  }
  const [, q, r] = cells((low + high) / 2)
  return (a + b - ratio * (a + c)) / Math.sqrt(n * ratio * (q + r))
}
