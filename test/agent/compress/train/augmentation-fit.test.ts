import { Recipe, Training } from '@edgefit/shared/model'
import { describe, expect, it } from 'vitest'
import { requireAugmentable } from '../../../../agent/compress/train/augmentation-fit.ts'
import { modelOf, op } from '../support/graphs.ts'

const image = modelOf({
  inputs: { x: ['n', 1, 28, 28] },
  outputs: ['y'],
  nodes: [op('Relu', 'x -> y')],
  constants: [],
})
const two = modelOf({
  inputs: { a: ['n', 4], b: ['n', 4] },
  outputs: ['y'],
  nodes: [op('Add', 'a b -> y')],
  constants: [],
})

const parsed = (augmentation: object) => Training.parse({ updates: 1, augmentation }).augmentation ?? fail()
const fail = (): never => {
  throw new Error('no augmentation')
}

describe('an augmentation', () => {
  it('fits a model with one input of floats, or one that it names', () => {
    requireAugmentable(parsed({ shifts: [{ axis: 2, most: 2 }], mirrors: [3] }), image)
    requireAugmentable(parsed({ input: 'b', mixup: 1 }), two)
  })

  it.each([
    [
      'no axis to shift',
      image,
      { shifts: [{ axis: 4, most: 1 }] },
      'augmentation.shifts[0].axis: 4 is no axis of a sample: choose one of "x", 1 to 3',
    ],
    ['no axis to mirror', image, { mirrors: [4] }, 'augmentation.mirrors[0]: 4'],
    ['shifts out of sight', image, { shifts: [{ axis: 2, most: 28 }] }, 'augmentation.shifts[0].most: 28 moves all 28'],
    ['an input left open', two, { mirrors: [1] }, 'augmentation.input: name one: the model has "a", "b"'],
    [
      'an input that is not there',
      image,
      { input: 'z', mirrors: [1] },
      'augmentation.input: the model has no input "z"',
    ],
  ])('is refused for %s', (_, model, augmentation, words) => {
    expect(() => requireAugmentable(parsed(augmentation), model)).toThrow(
      expect.objectContaining({ code: 'RECIPE_INVALID', message: expect.stringContaining(words) }),
    )
  })

  it.each([
    ['nothing', {}, [], 'give "shifts"'],
    ['an axis twice', { mirrors: [1, 1] }, ['mirrors'], 'each axis once'],
    [
      'an axis twice',
      {
        shifts: [
          { axis: 1, most: 1 },
          { axis: 1, most: 2 },
        ],
      },
      ['shifts'],
      'each axis once',
    ],
    ['mixtures of all and nothing', { mixup: 1e-9 }, ['mixup'], '0.01'],
  ])('is refused where it says %s', (_, augmentation, path, words) => {
    const issue = Training.safeParse({ updates: 1, augmentation }).error?.issues[0]
    expect(issue).toMatchObject({ path: ['augmentation', ...path], message: expect.stringContaining(words) })
  })

  it('mixes samples only where no labels are needed', () => {
    const recipe = (loss: object) => ({
      passes: [{ pass: 'fine-tune', updates: 1, loss, augmentation: { mixup: 1 } }],
      runtime: { intraOpThreads: 1 },
    })
    expect(Recipe.safeParse(recipe({ kind: 'distillation', mixing: 1 })).success).toBe(true)
    const refused = Recipe.safeParse(recipe({ kind: 'distillation', mixing: 0.9 }))
    expect(refused.error?.issues[0]).toMatchObject({
      path: ['passes', 0],
      message: expect.stringContaining('distil with "mixing" 1'),
    })
  })
})
