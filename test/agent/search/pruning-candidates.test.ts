import { Recipe } from '@edgefit/shared/model'
import { describe, expect, it } from 'vitest'
import { buildVariant } from '../../../agent/compress/index.ts'
import { quantizationCandidates } from '../../../agent/search/candidates.ts'
import { pruningCandidates } from '../../../agent/search/pruning-candidates.ts'
import { blockPredictor } from '../compress/prune/support.ts'
import { calibrationOn, demoModel, fashionMnist } from '../compress/support/real-models.ts'
import { openSession } from '../compress/support/runtime.ts'
import { candidateInput } from './support.ts'

const input = (operators: Readonly<Record<string, number>>, calibrationSamples = 300) =>
  candidateInput(operators, { calibrationSamples })

describe('pruning recipes to try', () => {
  it('are few, gentlest first, each in float32 and quantized', () => {
    const labels = pruningCandidates(input({ Conv: 3 })).map(({ recipe }) => recipe.label)
    expect(labels).toEqual([
      'pruned to save 10 %',
      expect.stringMatching(/^pruned to save 10 %, static int8 /),
      'pruned to save 20 %',
      expect.stringMatching(/^pruned to save 20 %, static int8 /),
      'pruned to save 35 %',
      expect.stringMatching(/^pruned to save 35 %, static int8 /),
    ])
  })

  it('are recipes as the schema has them', () => {
    for (const { recipe } of pruningCandidates(input({ Conv: 3, BatchNormalization: 3 }))) {
      expect(Recipe.parse(recipe)).toEqual(recipe)
      expect(recipe.passes.slice(0, 2).map(({ pass }) => pass)).toEqual(['fold-batch-norm', 'prune-channels'])
    }
  })

  it('say how much each saves', () => {
    for (const { savedShare, recipe } of pruningCandidates(input({ Conv: 3 }))) {
      expect(recipe.passes[0]).toMatchObject({ target: { by: 'saved-share', savedShare } })
    }
  })

  it('are quantized as the others are', () => {
    const operators = input({ Conv: 3 })
    const [, candidate] = pruningCandidates(operators)
    const passes = quantizationCandidates(operators).map(({ passes: [pass] }) => pass)
    expect(candidate?.recipe.passes[1]).toHaveProperty('floatStem', true)
    expect(passes).toContainEqual(candidate?.recipe.passes[1])
  })

  it('are none for a model without layers', () => {
    expect(pruningCandidates(input({ Add: 3, LSTM: 1 }))).toEqual([])
  })

  it('build from few calibration samples', async () => {
    const samples = 4
    const [, candidate] = pruningCandidates(input({ Conv: 15 }, samples))
    const { resolved } = await buildVariant({
      source: demoModel('fashion-resnet14'),
      recipe: candidate?.recipe ?? Recipe.parse({}),
      calibration: calibrationOn(fashionMnist(), samples),
      openSession,
      predictor: blockPredictor(),
      threads: 1,
      signal: new AbortController().signal,
    })
    expect(resolved.passes).toMatchObject([{ keep: expect.anything() }, { ranges: expect.anything() }])
  })
})
