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

  it('tells of a loss that rises before there are enough for a mean', () => {
    const watch = fresh()
    const words = [0.7, 5, 40, 300].map((loss) => watch.see(loss, 1))
    expect(words.slice(0, 3)).toEqual([undefined, undefined, undefined])
    expect(words[3]).toMatch(/rose from 0\.700 to 86/)
  })

  it('does not take a first batch that was small by luck for the rule, nor one bad batch for a trend', () => {
    const lucky = fresh()
    expect(lucky.see(0.01, 1)).toBeUndefined()
    for (let update = 0; update < 40; update += 1) expect(lucky.see(1.5, 1)).toBeUndefined()
    const unlucky = fresh()
    for (const loss of [1, 1, 30, 1]) expect(unlucky.see(loss, 1)).toBeUndefined()
  })

  it('judges at once again after weights were put back', () => {
    const watch = fresh()
    for (let update = 0; update < 20; update += 1) watch.see(1, 1)
    watch.restart()
    expect(watch.see(20, 1)).toBeUndefined()
    expect(Array.from({ length: 4 }, () => watch.see(20, 1)).some((word) => word !== undefined)).toBe(true)
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
