import { describe, expect, it } from 'vitest'
import { watchLoss } from '../../../../agent/compress/train/divergence.ts'

const fresh = () => watchLoss({ first: undefined, recent: [] })

describe('the watch over the loss', () => {
  it('tells at once of losses and gradients that are no numbers', () => {
    expect(fresh().see(Number.NaN, 1)).toContain('loss became NaN')
    expect(fresh().see(1, Number.POSITIVE_INFINITY)).toContain('gradients became Infinity')
  })

  it('tells of a loss that rises far above where it began, not of one bad batch', () => {
    const watch = fresh()
    for (let update = 0; update < 16; update += 1) expect(watch.see(1, 1)).toBeUndefined()
    expect(watch.see(20, 1)).toBeUndefined()
    const words = Array.from({ length: 16 }, () => watch.see(20, 1)).find((word) => word !== undefined)
    expect(words).toMatch(/rose from 1\.00 to/)
  })

  it('lets a loss near zero rise a little', () => {
    const watch = fresh()
    for (let update = 0; update < 16; update += 1) watch.see(0.001, 1)
    for (let update = 0; update < 32; update += 1) expect(watch.see(0.1, 1)).toBeUndefined()
  })

  it('goes on from its state', () => {
    const watch = fresh()
    for (let update = 0; update < 20; update += 1) watch.see(1, 1)
    const other = watchLoss(watch.state())
    for (let update = 0; update < 20; update += 1) expect(other.see(3 + update, 1)).toBe(watch.see(3 + update, 1))
  })
})
