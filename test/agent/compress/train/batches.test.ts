import { seededRandom } from '@edgefit/shared/stats'
import { describe, expect, it } from 'vitest'
import { drawingOrder, mixedSeed } from '../../../../agent/compress/train/batches.ts'

describe('the order in which samples are drawn', () => {
  const turns = (first: number, end: number) => Array.from({ length: end - first }, (_, at) => first + at)

  it('shows every sample at most once an epoch, and all of them where they fill the batches', () => {
    const order = drawingOrder(12, 4, 1)
    for (const epoch of [0, 1, 2]) {
      const seen = turns(epoch * 12, (epoch + 1) * 12).map(order)
      expect(seen.sort((a, b) => a - b)).toEqual(turns(0, 12))
    }
    const ragged = drawingOrder(10, 4, 1)
    expect(new Set(turns(0, 8).map(ragged)).size).toBe(8)
    expect(new Set(turns(8, 16).map(ragged)).size).toBe(8)
  })

  it('is another one every epoch and for every seed, and the same at any turn again', () => {
    const epochOf = (seed: number, epoch: number) =>
      turns(100 * epoch, 100 * epoch + 100).map(drawingOrder(100, 100, seed))
    expect(epochOf(5, 0)).not.toEqual(epochOf(5, 1))
    expect(epochOf(5, 0)).not.toEqual(epochOf(6, 0))
    expect(epochOf(5, 1)).not.toEqual(epochOf(6, 0))
    const order = drawingOrder(100, 100, 5)
    expect([order(750), order(3), order(750)]).toEqual([epochOf(5, 7)[50], epochOf(5, 0)[3], epochOf(5, 7)[50]])
  })

  it('refuses batches larger than the data', () => {
    expect(() => drawingOrder(10, 11, 1)).toThrow(
      expect.objectContaining({ code: 'DATASET_INVALID', message: expect.stringContaining('"batch"') }),
    )
  })

  it('has seeds for its parts whose first numbers do not hang together', () => {
    const firsts = turns(0, 4000).map((at) => seededRandom(mixedSeed(0, at))())
    const pairs = [0, 0, 0, 0]
    for (const [at, first] of firsts.entries()) {
      const next = firsts[at + 1]
      if (next === undefined) continue
      const pair = (first < 0.5 ? 0 : 2) + (next < 0.5 ? 0 : 1)
      pairs[pair] = (pairs[pair] ?? 0) + 1
    }
    // 1000 each, with a standard deviation below 30.
    for (const count of pairs) expect(Math.abs(count - 1000)).toBeLessThan(120)
  })
})
