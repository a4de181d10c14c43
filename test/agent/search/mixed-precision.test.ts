import type { LayerSensitivity, Pass, Recipe } from '@edgefit/shared/model'
import { Recipe as RecipeSchema } from '@edgefit/shared/model'
import { describe, expect, it } from 'vitest'
import { repairedRecipes, sizesOf, withLayersInFloat } from '../../../agent/search/mixed-precision.ts'
import { recipe } from '../../support/measurements.ts'

const FOLD: Pass = { pass: 'fold-batch-norm' }
const STATIC: Pass = {
  pass: 'quantize-static',
  activations: { type: 'uint8' },
  weights: { type: 'int8', perChannel: true, reducedRange: false },
  calibration: { method: 'minmax', samples: 300 },
  exclude: ['kept'],
}
const CORRECT: Pass = { pass: 'correct-bias', samples: 100 }

describe('a mixed recipe', () => {
  it('leaves the layers in float besides those that the recipe excludes', () => {
    const mixed = withLayersInFloat(recipe('static int8', [FOLD, STATIC, CORRECT]), ['a', 'b'])

    expect(mixed.label).toBe('static int8, 2 layers in float')
    expect(mixed.passes).toEqual([FOLD, { ...STATIC, exclude: ['kept', 'a', 'b'] }, CORRECT])
  })

  it('is one that can be read again, however long its label', () => {
    const long = recipe('x'.repeat(118), [STATIC])
    expect(RecipeSchema.parse(withLayersInFloat(long, ['a'])).label).toHaveLength(120)
  })
})

describe('a repaired recipe', () => {
  const passesOf = (recipes: readonly Recipe[]) => recipes.map(({ passes }) => passes.map(({ pass }) => pass))

  it('corrects the bias, and equalizes before', () => {
    const repaired = repairedRecipes(recipe('static int8', [FOLD, STATIC]))

    expect(passesOf(repaired)).toEqual([
      ['fold-batch-norm', 'quantize-static', 'correct-bias'],
      ['fold-batch-norm', 'equalize', 'quantize-static', 'correct-bias'],
    ])
    expect(repaired[0]?.passes[2]).toEqual(CORRECT)
    for (const one of repaired) expect(() => RecipeSchema.parse(one)).not.toThrow()
  })

  it('is none where there is nothing to correct, or it is corrected', () => {
    const dynamic: Pass = {
      pass: 'quantize-dynamic',
      weights: { type: 'int8', perChannel: true, reducedRange: false },
      exclude: [],
    }
    expect(repairedRecipes(recipe('dynamic', [dynamic]))).toEqual([])
    expect(repairedRecipes(recipe('repaired', [STATIC, CORRECT]))).toEqual([])
  })
})

describe('the number of layers to leave in float', () => {
  const layer = (low: number | null, high = low ?? 0): LayerSensitivity => ({
    layer: String(low),
    opType: 'Conv',
    sqnrDb: 10,
    noiseRatio: 0.1,
    klDivergence: null,
    lostMs: low === null ? null : { value: (low + high) / 2, low, high },
  })

  it('begins with those that are faster in float, and ends with those that were timed', () => {
    expect(sizesOf([layer(-2, -1), layer(1, 2), layer(1, 2), layer(null), layer(null)])).toEqual({ always: 1, most: 3 })
  })

  it('is never all of them', () => {
    expect(sizesOf([layer(1, 2), layer(1, 2)])).toEqual({ always: 0, most: 1 })
    expect(sizesOf([layer(-2, -1), layer(-2, -1)])).toEqual({ always: 1, most: 1 })
    expect(sizesOf([])).toEqual({ always: 0, most: 0 })
  })
})
