import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type CountSearch, largestCounts } from '../../../../agent/compress/prune/largest-count.ts'

type Latency = (count: number) => number

async function search(searches: readonly (CountSearch & { readonly latency: Latency })[]) {
  let calls = 0
  const asked: number[] = []
  const found = await largestCounts(searches, (counts) => {
    calls++
    asked.push(...counts.map(({ count }) => count))
    return Promise.resolve(counts.map(({ search, count }) => searches[search]?.latency(count) ?? 0))
  })
  return { found: found.map((one) => one?.count), calls, asked }
}

/** In blocks of 16; a block that is not full costs a quarter more than a full one. */
const blocks: Latency = (count) => Math.ceil(count / 16) * (count % 16 === 0 ? 1 : 1.25)

describe('the largest count that is fast enough', () => {
  it.each([
    // 64 takes 4, 63 takes 5.
    [63, 4, 48],
    [63, 4.9, 48],
    [63, 5, 63],
    [47, 3, 32],
    [127, 7.99, 112],
    [479, 29.5, 464],
    [63, 0.5, undefined],
  ])('of up to %i in %f ms is %s', async (high, limitMs, expected) => {
    const { found } = await search([{ low: 7, high, limitMs, latency: blocks }])
    expect(found).toEqual([expected])
  })

  it('is found to the channel where latency is smooth', async () => {
    const { found } = await search([{ low: 10, high: 479, limitMs: 333, latency: (count) => count }])
    expect(found).toEqual([333])
  })

  it('is in no case one with a larger beside it that is as fast', async () => {
    const staircases = fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 2, maxLength: 17 })
    await fc.assert(
      fc.asyncProperty(staircases, fc.integer({ min: 1, max: 5 }), async (latencies, limitMs) => {
        const latency: Latency = (count) => latencies[count - 1] ?? 9
        const { found } = await search([{ low: 1, high: latencies.length, limitMs, latency }])
        const expected = latencies.findLastIndex((ms) => ms <= limitMs) + 1
        expect(found).toEqual([latency(1) <= limitMs ? expected : undefined])
      }),
      { numRuns: 200, seed: 1 },
    )
  })

  it('takes few predictions, and asks for those of all searches together', async () => {
    const one = { low: 200, high: 1999, limitMs: 130, latency: (count: number) => count }
    const missed = await search([one])
    expect(missed).toMatchObject({ found: [undefined], calls: 1 })
    const lowest = { ...one, limitMs: 201 }
    const { found, calls, asked } = await search([lowest, { ...lowest, high: 250 }, one])
    expect(found).toEqual([201, 201, undefined])
    expect(calls).toBeLessThan(26)
    expect(asked.length).toBeLessThan(50)
  })
})
