import { describe, expect, it } from 'vitest'
import { aucInterval, pairedAucDifference, seededRandom } from '../../../shared/stats/index.ts'

describe('aucInterval', () => {
  it('gives the pair count and DeLong variance of a case done by hand', () => {
    // Positives 3, 2, 1; negatives 2, 0. Wins: 3>2, 3>0, 2=2 (half), 2>0, 1<2, 1>0: 4.5 of 6.
    const { auc, variance, positives, negatives } = aucInterval([3, 2, 1, 2, 0], [1, 1, 1, 0, 0])

    expect(auc).toBeCloseTo(0.75, 12)
    // Placements of positives 1, 0.75, 0.5: variance 1/16, over 3. Of negatives 0.5, 1: variance 1/8, over 2.
    expect(variance).toBeCloseTo(1 / 48 + 1 / 16, 12)
    expect([positives, negatives]).toEqual([3, 2])
  })

  it('counts pairs as brute force does, ties included', () => {
    const random = seededRandom(21)
    const scores = Array.from({ length: 300 }, () => Math.floor(random() * 20))
    const labels = scores.map((score) => (random() * 25 < score ? 1 : 0))
    let wins = 0
    let pairs = 0
    for (const [i, positive] of scores.entries()) {
      for (const [j, negative] of scores.entries()) {
        if (labels[i] !== 1 || labels[j] !== 0) continue
        pairs += 1
        wins += positive > negative ? 1 : positive === negative ? 0.5 : 0
      }
    }

    expect(aucInterval(scores, labels).auc).toBeCloseTo(wins / pairs, 12)
  })

  it('covers the true AUC about 95 times in 100', () => {
    const random = seededRandom(22)
    const repeats = 1500
    let covered = 0
    for (let repeat = 0; repeat < repeats; repeat += 1) {
      const { scores, labels } = exponentialScores(120, random)
      const { lower, upper } = aucInterval(scores, labels)
      // For rates 1 and 4 the chance that a positive exceeds a negative is 4 / 5.
      if (lower <= 0.8 && upper >= 0.8) covered += 1
    }

    expect(covered / repeats).toBeGreaterThan(0.93)
    expect(covered / repeats).toBeLessThan(0.97)
  })

  it('does not claim certainty from perfect separation', () => {
    const { auc, lower, upper } = aucInterval([3, 4, 5, 0, 1, 2], [1, 1, 1, 0, 0, 0])

    expect(auc).toBe(1)
    expect(upper).toBe(1)
    expect(lower).toBeGreaterThan(0.3)
    expect(lower).toBeLessThan(0.8)
  })

  it('refuses bad scores and labels by their place', () => {
    expect(() => aucInterval([1, Number.NaN], [1, 0])).toThrow(/sample 1 is not finite/)
    expect(() => aucInterval([1, 2], [1, 2])).toThrow(/label 2 of sample 1/)
    expect(() => aucInterval([1, 2, 3], [1, 1, 0])).toThrow(/2 positive, 1 negative/)
    expect(() => aucInterval([1, 2, 3], [1, 1])).toThrow(/3 scores .* 2 labels/)
  })
})

describe('pairedAucDifference', () => {
  it('has no width for equal rankings and covers a true difference of zero at its level', () => {
    const random = seededRandom(6)
    const { scores, labels } = exponentialScores(60, random)
    expect(pairedAucDifference(scores, scores, labels)).toEqual({ difference: 0, lower: 0, upper: 0 })

    const repeats = 1000
    let above = 0
    for (let repeat = 0; repeat < repeats; repeat += 1) {
      const first = exponentialScores(150, random)
      const second = exponentialScores(150, random)
      if (pairedAucDifference(second.scores, first.scores, first.labels).lower > 0) above += 1
    }

    expect(above / repeats).toBeGreaterThan(0.03)
    expect(above / repeats).toBeLessThan(0.075)
  })
})

/** Alternating labels, so that two draws share them. */
function exponentialScores(count: number, random: () => number): { scores: number[]; labels: number[] } {
  const labels = Array.from({ length: count }, (_, index) => index % 2)
  return { labels, scores: labels.map((label) => -Math.log(1 - random()) * (label === 1 ? 4 : 1) + 1e-9) }
}
