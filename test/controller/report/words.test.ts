import { describe, expect, it } from 'vitest'
import { latencyAxis } from '../../../controller/report/latency-axis.ts'
import { logDensity } from '../../../controller/report/log-density.ts'
import { accuracyFigure, ago, ms, msBeside, relativeChange } from '../../../controller/report/words.ts'

describe('figures in words', () => {
  it.each([
    [0.4123, '0.412'],
    [0.9996, '1.00'],
    [4.126, '4.13'],
    [9.996, '10.0'],
    [41.25, '41.3'],
    [99.96, '100'],
    [1234.5, '1235'],
  ])('latency %f ms has three digits: %s', (value, text) => {
    expect(ms(value)).toBe(text)
  })

  it.each([
    [12.004, 12, '12.004'],
    [12.04, 12, '12.04'],
    [11.996, 12, '11.996'],
    [12, 12, '12.0'],
    [13.16, 12, '13.2'],
  ])('%f beside a limit of %f is told from it: %s', (value, limit, text) => {
    expect(msBeside(value, limit)).toBe(text)
  })

  it('change has a sign, and none where there is none', () => {
    expect([relativeChange(27, 100), relativeChange(116, 100), relativeChange(100, 100)]).toEqual([
      '−73 %',
      '+16 %',
      '±0 %',
    ])
  })

  it('accuracy has as many digits as its samples deserve; an AUC is no percentage', () => {
    expect(accuracyFigure(0.93105, { metric: 'top1', count: 400 })).toBe('93.1 %')
    expect(accuracyFigure(0.93105, { metric: 'top1', count: 2000 })).toBe('93.11 %')
    expect(accuracyFigure(0.98765, { metric: 'auc', count: 400 })).toBe('0.988')
  })

  it('a clock that runs ahead is just now', () => {
    expect([ago(1000, 0), ago(0, 3_599_000), ago(0, 7_200_000), ago(0, 200_000_000)]).toEqual([
      'just now',
      '59 min ago',
      '2 h ago',
      '2 days ago',
    ])
  })
})

describe('the axis of latencies', () => {
  it('shows every latency, twice as fast equally far apart everywhere', () => {
    const { scale, ticksMs } = latencyAxis([3, 48], [0, 100], 6)

    expect(scale(3)).toBeGreaterThan(0)
    expect(scale(48)).toBeLessThan(100)
    expect(scale(12) - scale(6)).toBeCloseTo(scale(48) - scale(24), 9)
    expect(ticksMs.length).toBeGreaterThan(1)
    expect(ticksMs.length).toBeLessThanOrEqual(6)
    expect(ticksMs).toEqual([...ticksMs].sort((a, b) => a - b))
  })

  it.each([[[10, 10.2]], [[0.0004, 9000]], [[7]], [[]]])('has a label or more for %j', (latencies) => {
    const { ticksMs, scale } = latencyAxis(latencies, [0, 100], 6)

    expect(ticksMs.length).toBeGreaterThan(0)
    for (const tick of ticksMs) expect(scale(tick)).toBeGreaterThanOrEqual(0)
  })
})

describe('the density of latencies', () => {
  it('is 1 at the peak and near 0 far from it', () => {
    const density = logDensity(
      [
        { fromMs: 9.99, toMs: 10.01, count: 5 },
        { fromMs: 40, toMs: 40.1, count: 1 },
      ],
      1,
      100,
      101,
    )

    expect(density).toHaveLength(101)
    expect(density.indexOf(Math.max(...density))).toBe(50)
    expect(Math.max(...density)).toBe(1)
    expect(density[80]).toBeCloseTo(0.2, 1)
    expect(density[20]).toBe(0)
  })

  it('leaves out what lies beyond the axis', () => {
    expect(logDensity([{ fromMs: 500, toMs: 501, count: 9 }], 1, 100, 11)).toEqual(new Array(11).fill(0))
  })
})
