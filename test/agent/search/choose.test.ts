import type { Objective } from '@edgefit/shared/model'
import { describe, expect, it } from 'vitest'
import { type Candidate, choose } from '../../../agent/search/choose.ts'
import { measurement } from '../../support/measurements.ts'

const FLOOR: Objective = { latencyP90Ms: 1, accuracy: { kind: 'relative', value: 0.99 }, minimize: 'latency' }
const AS_GOOD = { both: 920, onlyVariant: 9, onlyBaseline: 10, neither: 61 }
const WORSE = { both: 850, onlyVariant: 5, onlyBaseline: 80, neither: 65 }

const baseline = (p90BoundMs: number): Candidate => ({
  trialId: 0,
  label: 'fp32',
  measurement: measurement({ p90BoundMs }),
})
const variant = (trialId: number, figures: Parameters<typeof measurement>[0]): Candidate => ({
  trialId,
  label: `variant ${trialId}`,
  measurement: measurement({ paired: AS_GOOD, ...figures }),
})
const reasonsOf = (choice: ReturnType<typeof choose>, id: number) => choice.losses.get(id)?.map(({ reason }) => reason)

describe('choose', () => {
  it('takes the smallest latency among what holds every constraint, and says why the others lost', () => {
    const choice = choose(FLOOR, baseline(2), [
      variant(1, { p90BoundMs: 0.9, ratio: [0.44, 0.45, 0.46] }),
      variant(2, { p90BoundMs: 0.8, ratio: [0.39, 0.4, 0.41] }),
      variant(3, { p90BoundMs: 0.5, ratio: [0.24, 0.25, 0.26], paired: WORSE }),
    ])

    expect(choice.winner?.trialId).toBe(2)
    expect(reasonsOf(choice, 0)).toEqual(['too-slow'])
    expect(reasonsOf(choice, 1)).toEqual(['not-smallest'])
    expect(reasonsOf(choice, 3)).toEqual(['accuracy-below-floor'])
  })

  it('compares by the interleaved ratio, not by solo figures of different minutes', () => {
    const choice = choose(FLOOR, baseline(2), [
      variant(1, { p90BoundMs: 0.7, ratio: [0.44, 0.45, 0.46] }),
      variant(2, { p90BoundMs: 0.8, ratio: [0.39, 0.4, 0.41] }),
    ])

    expect(choice.winner?.trialId).toBe(2)
  })

  it.each([
    ['slower', [1.1, 1.2, 1.3]],
    ['not faster beyond the noise', [0.97, 0.99, 1.01]],
  ] as const)('never picks something %s than fp32', (_name, ratio) => {
    const choice = choose(FLOOR, baseline(0.9), [variant(1, { p90BoundMs: 0.8, ratio })])

    expect(choice.winner?.trialId).toBe(0)
    expect(reasonsOf(choice, 1)).toEqual(['slower-than-baseline'])
  })

  it('takes the p90 bound for the budget, at the very edge too', () => {
    expect(choose(FLOOR, baseline(1), []).winner?.trialId).toBe(0)
    expect(reasonsOf(choose(FLOOR, baseline(1.0001), []), 0)).toEqual(['too-slow'])
  })

  it('lets fp32 pass a relative floor of 1 by identity, and an equal variant too', () => {
    const strict: Objective = { ...FLOOR, accuracy: { kind: 'relative', value: 1 } }
    const equal = { both: 930, onlyVariant: 0, onlyBaseline: 0, neither: 70 }

    expect(choose(strict, baseline(0.9), []).winner?.trialId).toBe(0)
    expect(
      choose(strict, baseline(0.9), [variant(1, { p90BoundMs: 0.5, ratio: [0.4, 0.5, 0.6], paired: equal })]).winner
        ?.trialId,
    ).toBe(1)
  })

  it('says how many samples are needed where they are too few to decide', () => {
    const few = { both: 93, onlyVariant: 1, onlyBaseline: 1, neither: 5 }
    const choice = choose(FLOOR, baseline(2), [variant(1, { p90BoundMs: 0.5, ratio: [0.2, 0.25, 0.3], paired: few })])

    expect(choice.winner).toBeUndefined()
    expect(choice.undecided).toBe(true)
    expect(choice.losses.get(1)?.[0]?.reason).toBe('accuracy-undecided')
    expect(choice.losses.get(1)?.[0]?.detail).toMatch(/about \d+ samples are needed/)
  })

  it('judges an absolute floor by the interval of fp32 as well', () => {
    const absolute: Objective = { ...FLOOR, accuracy: { kind: 'absolute', value: 0.95 } }

    expect(reasonsOf(choose(absolute, baseline(0.5), []), 0)).toEqual(['accuracy-below-floor'])
  })

  it('judges a metric that is no proportion by its paired difference', () => {
    const auc = { metric: 'auc', value: 0.97, low: 0.96, high: 0.98, count: 500 } as const
    const fp32: Candidate = { ...baseline(2), measurement: measurement({ p90BoundMs: 2, accuracy: auc }) }
    const loser = variant(1, {
      p90BoundMs: 0.5,
      ratio: [0.2, 0.25, 0.3],
      accuracy: auc,
      difference: { value: -0.002, low: -0.02 },
    })
    loser.measurement.againstBaseline && Object.assign(loser.measurement.againstBaseline, { paired: null })
    const holder = variant(2, {
      p90BoundMs: 0.6,
      ratio: [0.25, 0.3, 0.35],
      accuracy: auc,
      difference: { value: -0.002, low: -0.009 },
    })
    holder.measurement.againstBaseline && Object.assign(holder.measurement.againstBaseline, { paired: null })

    const choice = choose(FLOOR, fp32, [loser, holder])

    expect(choice.winner?.trialId).toBe(2)
    expect(reasonsOf(choice, 1)).toEqual(['accuracy-undecided'])
  })

  it('holds limits of memory and size', () => {
    const limits: Objective = { ...FLOOR, memoryBytes: 80_000_000, sizeBytes: 500_000 }
    const choice = choose(limits, baseline(0.9), [
      variant(1, { p90BoundMs: 0.5, ratio: [0.2, 0.25, 0.3], peakRssBytes: 80_000_000, sizeBytes: 500_000 }),
    ])

    expect(choice.winner?.trialId).toBe(1)
    expect(reasonsOf(choice, 0)).toEqual(['too-much-memory', 'too-large'])
  })

  it('minimizes size where asked, but takes nothing slower than fp32 for it', () => {
    const bySize: Objective = { ...FLOOR, minimize: 'size' }
    const choice = choose(bySize, baseline(0.9), [
      variant(1, { p90BoundMs: 0.5, ratio: [0.5, 0.6, 0.7], sizeBytes: 600_000 }),
      variant(2, { p90BoundMs: 0.8, ratio: [0.9, 0.98, 1.1], sizeBytes: 400_000 }),
      variant(3, { p90BoundMs: 0.8, ratio: [1.0, 1.05, 1.1], sizeBytes: 300_000 }),
    ])

    expect(choice.winner?.trialId).toBe(2)
    expect(reasonsOf(choice, 3)).toEqual(['slower-than-baseline'])
  })

  it('explains an infeasible objective by the best reachable points', () => {
    const choice = choose({ ...FLOOR, latencyP90Ms: 0.4 }, baseline(2), [
      variant(1, { p90BoundMs: 0.5, ratio: [0.2, 0.25, 0.3] }),
      variant(2, { p90BoundMs: 0.3, ratio: [0.1, 0.15, 0.2], paired: WORSE }),
    ])

    expect(choice.winner).toBeUndefined()
    expect(choice.undecided).toBe(false)
    expect(choice.reasons.join('\n')).toMatch(/fastest that holds the accuracy floor: variant 1/)
    expect(choice.reasons.join('\n')).toMatch(/most accurate within the latency budget: variant 2/)
  })
})
