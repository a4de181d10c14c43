import { describe, expect, it } from 'vitest'
import { quietestBlocks } from '../../../agent/measure/quietest-block.ts'

/** A model that takes 2 ms, and three times as long in every block but the one that `isQuiet` picks by its number. */
function model(isQuiet: (run: number) => boolean) {
  let run = 0
  return {
    run: () => Promise.resolve({}),
    timeMs: () => {
      run += 1
      return Promise.resolve(isQuiet(run) ? 2 : 6)
    },
  }
}

describe('the time of a run', () => {
  it('is that of the quietest block of each model', async () => {
    const [first, second] = await quietestBlocks(
      [model((run) => run > 20), model((run) => run < 2)],
      AbortSignal.timeout(5000),
    )

    expect(first?.ms).toBe(2)
    expect(second?.ms).toBe(6)
  })

  it('is no single lucky run', async () => {
    const [lucky] = await quietestBlocks([model((run) => run % 4 === 2)], AbortSignal.timeout(5000))

    expect(lucky?.ms).toBe(6)
  })

  it('is not waited for after an abort', async () => {
    await expect(quietestBlocks([model(() => true)], AbortSignal.abort())).rejects.toThrow(/abort/i)
  })
})
