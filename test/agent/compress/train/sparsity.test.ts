import { describe, expect, it } from 'vitest'
import { joinedMasks, magnitudeMasks, sparsityAt, zeroMasks } from '../../../../agent/compress/train/sparsity.ts'
import { train } from '../../../../agent/compress/train/train.ts'
import { trainableWeights } from '../../../../agent/compress/train/trainable.ts'
import { withWeights } from '../../../../agent/compress/train/with-weights.ts'
import { portsOf, SMALL_PLAN, untrainedModel } from './support/breast-cancer-training.ts'

const SPARSITY = { final: 0.8, scope: 'per-layer', risesOver: 0.5, everyUpdates: 5 } as const
const signal = new AbortController().signal

const arrays = (masks: ReadonlyMap<string, Float32Array>) =>
  Object.fromEntries([...masks].map(([name, mask]) => [name, [...mask]]))

describe('sparsity', () => {
  it('rises by a cubic to its end, and stays', () => {
    const shares = [0, 25, 50, 75, 100].map((update) => sparsityAt({ ...SPARSITY, risesOver: 1 }, update, 100))
    expect(shares[0]).toBe(0)
    expect(shares[1]).toBeCloseTo(0.8 * (1 - 0.75 ** 3), 6)
    expect(shares[4]).toBe(0.8)
    expect(sparsityAt(SPARSITY, 50, 100)).toBe(0.8)
    expect(sparsityAt(SPARSITY, 80, 100)).toBe(0.8)
  })

  it('takes the smallest magnitudes, of each layer or of all', () => {
    const weights = new Map([
      ['a', Float32Array.of(1, -0.1, 0.2, -3)],
      ['b', Float32Array.of(10, 20, -30, 40)],
    ])
    expect(arrays(magnitudeMasks(weights, 0.5, 'per-layer'))).toEqual({ a: [1, 0, 0, 1], b: [0, 0, 1, 1] })
    expect(arrays(magnitudeMasks(weights, 0.5, 'global'))).toEqual({ a: [0, 0, 0, 0], b: [1, 1, 1, 1] })
    expect(arrays(magnitudeMasks(weights, 0, 'per-layer'))).toEqual({ a: [1, 1, 1, 1], b: [1, 1, 1, 1] })
    const equal = new Map([['a', Float32Array.of(1, -1, 1, 1)]])
    expect(arrays(magnitudeMasks(equal, 0.5, 'per-layer'))).toEqual({ a: [0, 0, 1, 1] })
  })

  it('takes as many as the share says, to the last', () => {
    const weights = new Map([['a', Float32Array.from({ length: 100 }, (_, at) => at + 1)]])
    expect(
      magnitudeMasks(weights, 0.29, 'per-layer')
        .get('a')
        ?.filter((value) => value === 0),
    ).toHaveLength(29)
  })

  it('knows what an earlier pass removed from a layer that was not empty to begin with', () => {
    const weights = new Map([
      ['pruned', Float32Array.of(0, 2, 0)],
      ['empty', Float32Array.of(0, 0)],
      ['dense', Float32Array.of(1, 2)],
    ])
    expect(arrays(zeroMasks(weights))).toEqual({ pruned: [0, 1, 0] })
  })

  it('adds up what is gone', () => {
    const rising = new Map([['a', Float32Array.of(0, 1, 1)]])
    expect(arrays(joinedMasks(rising, new Map([['a', Float32Array.of(1, 1, 0)]])))).toEqual({ a: [0, 1, 0] })
    expect(arrays(joinedMasks(rising, new Map()))).toEqual({ a: [0, 1, 1] })
  })

  const zeros = (weights: ReadonlyMap<string, Float32Array>) =>
    [...weights]
      .filter(([, values]) => values.length > 10)
      .map(([, values]) => values.filter((value) => value === 0).length / values.length)

  it('is reached by training, and what it reports is the score at full sparsity', async () => {
    const model = await untrainedModel()
    const trainee = { model, trainable: trainableWeights(model, { kind: 'all' }) }
    const plan = { ...SMALL_PLAN, updates: 60, sparsity: SPARSITY }
    const trained = await train(trainee, plan, await portsOf(), signal)
    expect(trained.bestUpdate).toBeGreaterThanOrEqual(30)
    const kernels = trainee.trainable.filter(({ decays }) => decays)
    for (const { name } of kernels) {
      const values = trained.weights.get(name) ?? []
      expect(values.filter((value) => value === 0).length / values.length).toBeGreaterThan(0.75)
    }
    expect(trained.bestScore).toBeGreaterThan(0.9)
  })

  it('says so where the time was too short for it', async () => {
    const model = await untrainedModel()
    const trainee = { model, trainable: trainableWeights(model, { kind: 'all' }) }
    const plan = { ...SMALL_PLAN, updates: 60, sparsity: SPARSITY }
    const exhausted = (elapsedMs: number) => (elapsedMs > 12_000 ? 'the time budget is spent' : undefined)
    const trained = await train(trainee, plan, await portsOf({ exhausted }), signal)
    expect(trained.notes.join()).toContain('not as sparse as the recipe wants')
    const whole = await train(trainee, plan, await portsOf(), signal)
    expect(whole.notes).toEqual([])
  })

  it('is reached where it settles with the first update', async () => {
    const model = await untrainedModel()
    const trainee = { model, trainable: trainableWeights(model, { kind: 'all' }) }
    // Whatever is trained is worse than the dense weights at the start.
    let score = 1
    const judge = () => {
      score -= 0.1
      return Promise.resolve(score)
    }
    const plan = { ...SMALL_PLAN, updates: 3, evaluateEvery: 1, sparsity: { ...SPARSITY, risesOver: 0.1 } }
    const trained = await train(trainee, plan, await portsOf({ judge }), signal)
    expect(trained.bestUpdate).toBe(1)
    const kernels = trainee.trainable.flatMap(({ name, decays }) => (decays ? [name] : []))
    const sparse = new Map(kernels.map((name) => [name, trained.weights.get(name) ?? new Float32Array()]))
    for (const share of zeros(sparse)) expect(share).toBeGreaterThan(0.75)
  })

  it('is kept by training that follows pruning', async () => {
    const dense = await untrainedModel()
    const trainable = trainableWeights(dense, { kind: 'all' })
    const kernels = trainable.filter(({ decays }) => decays)
    const weights = new Map(
      kernels.map(({ name }, layer) => {
        const values = new Float32Array(dense.graph.initializers.get(name)?.data.slice().buffer ?? new ArrayBuffer())
        return [name, layer === 0 ? values.map((value, at) => (at % 3 === 0 ? 0 : value)) : values] as const
      }),
    )
    const model = withWeights(dense, weights)
    const before = zeros(weights)
    const kept = await train({ model, trainable }, SMALL_PLAN, await portsOf(), signal)
    expect(zeros(new Map(kernels.map(({ name }) => [name, kept.weights.get(name) ?? new Float32Array()])))).toEqual(
      before,
    )
    for (const values of kept.weights.values()) expect(values.some((value) => Object.is(value, -0))).toBe(false)
    // A share that rises from zero does not bring back what is gone: a third of the first layer.
    const sparsity = { ...SPARSITY, final: 0.1 }
    const sparser = await train({ model, trainable }, { ...SMALL_PLAN, sparsity }, await portsOf(), signal)
    const [name = '', pruned = new Float32Array()] = [...weights][0] ?? []
    for (const [at, value] of pruned.entries()) if (value === 0) expect(sparser.weights.get(name)?.[at]).toBe(0)
    const grown = await train({ model, trainable }, { ...SMALL_PLAN, keepZeros: false }, await portsOf(), signal)
    expect(zeros(grown.weights)[0]).toBeLessThan(0.1)
  })
})
