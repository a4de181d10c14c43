import { describe, expect, it } from 'vitest'
import { batchOrder } from '../../../../agent/compress/train/batches.ts'

describe('batches', () => {
  it('show every sample at most once an epoch, and all of them where they fill the batches', () => {
    const order = batchOrder(12, 4, 1)
    for (const epoch of [0, 1, 2]) {
      const seen = [0, 1, 2].flatMap((batch) => order(epoch * 3 + batch))
      expect([...seen].sort((a, b) => a - b)).toEqual(Array.from({ length: 12 }, (_, at) => at))
    }
    const ragged = batchOrder(10, 4, 1)
    expect(new Set([...ragged(0), ...ragged(1)]).size).toBe(8)
    expect(ragged(2)).toHaveLength(4)
  })

  it('come in another order every epoch and for every seed, and in the same order at any step again', () => {
    const order = batchOrder(100, 100, 5)
    expect(order(0)).not.toEqual(order(1))
    expect(order(0)).not.toEqual(batchOrder(100, 100, 6)(0))
    expect(order(1)).not.toEqual(batchOrder(100, 100, 6)(0))
    expect(batchOrder(100, 100, 5)(7)).toEqual(order(7))
  })

  it('refuse to be larger than the data', () => {
    expect(() => batchOrder(10, 11, 1)).toThrow(
      expect.objectContaining({ code: 'DATASET_INVALID', message: expect.stringContaining('"batch"') }),
    )
  })
})
