import { Recipe } from '@edgefit/shared/model'
import { encodeModel } from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import { buildVariant } from '../../../agent/compress/index.ts'
import { quantizationCandidates } from '../../../agent/search/candidates.ts'
import { batchOf, calibrationOn, hasSharedModels, intents, sharedModel } from '../compress/support/real-models.ts'
import { openSession, relativeError, run } from '../compress/support/runtime.ts'
import { candidateInput } from './support.ts'

const input = (operators: Readonly<Record<string, number>>) => candidateInput(operators, { calibrationSamples: 16 })
const labels = (operators: Readonly<Record<string, number>>) =>
  quantizationCandidates(input(operators)).map(({ label }) => label)

describe('the recipes to try', () => {
  it('start with static int8 where there are convolutions, and have no weight-only ones', () => {
    const tried = labels({ Conv: 15, Gemm: 1, Gather: 1 })
    expect(tried[0]).toMatch(/^static int8/)
    expect(tried.at(-1)).toBe('dynamic int8')
    expect(tried.join()).not.toMatch(/weight-only|float16/)
  })

  it('start with dynamic int8 where matrix products are all there is, and end with weight-only', () => {
    const tried = labels({ Gemm: 3 })
    expect(tried[0]).toBe('dynamic int8')
    expect(tried.slice(-2)).toEqual(['weight-only int8', 'weight-only int4'])
  })

  it('store embeddings as float16 where there are any', () => {
    expect(labels({ MatMul: 12, Gather: 2 }).slice(-3)).toEqual([
      'dynamic int8, embeddings float16',
      'weight-only int8, embeddings float16',
      'weight-only int4, embeddings float16',
    ])
  })

  it('are recipes as the schema has them, each only once', () => {
    for (const operators of [{ Conv: 2, BatchNormalization: 2 }, { Gemm: 3 }, { MatMul: 12, Gather: 2 }]) {
      const recipes = quantizationCandidates(input(operators))
      for (const recipe of recipes) expect(Recipe.parse(recipe)).toEqual(recipe)
      expect(new Set(recipes.map(({ label }) => label)).size).toBe(recipes.length)
    }
  })

  it.skipIf(!hasSharedModels)('of the last kind make a transformer less than half as large', async () => {
    const source = sharedModel('clinc150_transformer/model.onnx')
    const samples = intents('val')
    const feeds = batchOf(samples, 0, 16)
    const before = Object.values(await run(source, feeds))[0]
    for (const recipe of quantizationCandidates(input({ MatMul: 13, Gather: 2 })).slice(-3)) {
      const calibration = calibrationOn(samples, 1)
      const signal = new AbortController().signal
      const build = () => buildVariant({ source, recipe, calibration, openSession, threads: 1, signal })
      const { model, bytes } = await build()
      expect(bytes.byteLength).toBeLessThan(0.42 * encodeModel(source).byteLength)
      expect(Buffer.compare((await build()).bytes, bytes)).toBe(0)
      expect(relativeError(before, Object.values(await run(model, feeds))[0])).toBeLessThan(0.3)
    }
  })
})
