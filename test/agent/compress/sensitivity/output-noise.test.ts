import { describe, expect, it } from 'vitest'
import { floatOutputs, noiseMeter } from '../../../../agent/compress/sensitivity/output-noise.ts'

const outputs = (...values: number[]) => new Map([['y', Float32Array.from(values)]])

function noiseOf(expected: number[], given: number[], classes = false) {
  const meter = noiseMeter(classes)
  meter.add(outputs(...expected), outputs(...given))
  return meter.noise()
}

describe('the noise of outputs', () => {
  it('is noise power over signal power', () => {
    expect(noiseOf([3, 4], [3, 4.5])).toEqual({ noiseRatio: 0.01, sqnrDb: 20, klDivergence: null })
  })

  it('sums the powers of all samples before it divides', () => {
    const meter = noiseMeter(false)
    meter.add(outputs(10, 0), outputs(10, 0))
    meter.add(outputs(0, 0), outputs(1, 0))
    expect(meter.noise().noiseRatio).toBeCloseTo(0.01)
  })

  it('is that of the output which fares worst', () => {
    const meter = noiseMeter(false)
    meter.add(
      new Map([
        ['good', Float32Array.of(1)],
        ['bad', Float32Array.of(1)],
      ]),
      new Map([
        ['good', Float32Array.of(1)],
        ['bad', Float32Array.of(2)],
      ]),
    )
    expect(meter.noise().noiseRatio).toBe(1)
  })

  it.each([
    ['equal outputs', [1, 2], [1, 2], 200],
    ['a value that is not finite', [1, 2], [1, Number.NaN], -200],
    ['outputs of another length', [1, 2], [1, 2, 3], -200],
  ])('stays finite for %s', (_what, expected, given, db) => {
    expect(noiseOf(expected, given).sqnrDb).toBe(db)
  })

  it('measures the divergence of logits by their probabilities, which a shift of all does not change', () => {
    const { klDivergence } = noiseOf([0, Math.log(3)], [Math.log(1), Math.log(1)], true)
    // KL([1/4, 3/4] ‖ [1/2, 1/2])
    expect(klDivergence).toBeCloseTo(0.25 * Math.log(0.5) + 0.75 * Math.log(1.5), 6)
    expect(noiseOf([0, 2], [5, 7], true).klDivergence).toBeCloseTo(0, 6)
  })

  it('takes outputs that already are probabilities as they are', () => {
    expect(noiseOf([0.25, 0.75], [0.5, 0.5], true).klDivergence).toBeCloseTo(0.1308, 4)
  })

  it('counts a class that is given up once, and no more', () => {
    const { klDivergence } = noiseOf([0.5, 0.5], [1, 0], true)
    expect(klDivergence).toBeGreaterThan(10)
    expect(klDivergence).toBeLessThan(30)
  })

  it('leaves outputs alone that cannot be noisy', () => {
    const found = floatOutputs({
      scores: { type: 'float32', dims: [1], data: Float32Array.of(1) },
      label: { type: 'int64', dims: [1], data: BigInt64Array.of(1n) },
    })
    expect([...found.keys()]).toEqual(['scores'])
  })
})
