import { Recipe } from '@edgefit/shared/model'
import { describe, expect, it } from 'vitest'
import { orderFaults } from '../../../shared/model/pass-contracts.ts'

const STATIC = {
  pass: 'quantize-static',
  activations: { type: 'uint8' },
  weights: {},
  calibration: { method: 'minmax', samples: 1 },
}
const CORRECT = { pass: 'correct-bias', samples: 1 }
const FOLD = { pass: 'fold-batch-norm' }
const HALF = { pass: 'to-float16' }
const DYNAMIC = { pass: 'quantize-dynamic', weights: {} }
const WEIGHTS = { pass: 'quantize-weights', bits: 8 }
const TUNE = { pass: 'fine-tune', updates: 1 }
const FEW_BITS = { pass: 'quantize-weights-aware', bits: 4, training: { updates: 1 } }
const EQUALIZE = { pass: 'equalize' }
const SPARSE = { pass: 'prune-weights', target: { by: 'sparsity', sparsity: 0.5 } }
const TAKE = { pass: 'take-student', digest: 'd'.repeat(64) }
const PREPARE = [
  { pass: 'fold-constants' },
  { pass: 'remove-identities' },
  { pass: 'remove-dropout' },
  { pass: 'remove-dead-branches' },
  { pass: 'lift-opset' },
]

function read(...passes: readonly object[]) {
  return Recipe.safeParse({ passes, runtime: { intraOpThreads: 1 } })
}

describe('a recipe', () => {
  it.each([
    ['quantization after preparation', [...PREPARE, FOLD, EQUALIZE, STATIC, CORRECT]],
    ['preparation after quantization', [STATIC, ...PREPARE]],
    ['bias correction among preparation', [STATIC, { pass: 'remove-identities' }, CORRECT]],
    ['pruning before quantization', [SPARSE, FOLD, STATIC]],
    ['several kinds of quantization', [WEIGHTS, STATIC, DYNAMIC, HALF]],
    ['each pass once', [FOLD]],
    ['a student first', [TAKE, FOLD, STATIC]],
    ['training for few bits after other training', [TUNE, FEW_BITS, WEIGHTS]],
    ['no pass', []],
  ])('may have %s', (_, passes) => {
    expect(read(...passes).error).toBeUndefined()
  })

  it.each<[string, readonly object[], number, string]>([
    [
      'pruning after quantization',
      [STATIC, SPARSE],
      1,
      'pass 2, prune-weights, needs weights in float32 as they were trained, which pass 1, quantize-static, ends: put prune-weights before that one',
    ],
    ['folding after quantization', [FOLD, DYNAMIC, FOLD], 2, 'put fold-batch-norm before that one'],
    [
      'folding after equalization',
      [EQUALIZE, FOLD],
      1,
      'which pass 1, equalize, ends: put fold-batch-norm before that one',
    ],
    ['equalization of float16', [HALF, EQUALIZE], 1, 'put equalize before that one'],
    ['training of what few bits hold', [FEW_BITS, TUNE], 1, 'needs weights in float32 as they were trained'],
    ['quantization of float16', [HALF, STATIC], 1, 'needs a model in float32, which pass 1, to-float16, ends'],
    ['static quantization twice', [STATIC, STATIC], 1, 'needs activations that are not quantized yet, which pass 1'],
    [
      'a student later',
      [FOLD, TAKE],
      1,
      'needs a source that no pass has worked on, which pass 1, fold-batch-norm, ends: put take-student before that one',
    ],
    ['two students', [TAKE, TAKE], 1, 'which pass 1, take-student, ends'],
    ['bias correction of nothing', [CORRECT], 0, 'put quantize-static before it'],
    ['bias correction of what changed', [STATIC, HALF, CORRECT], 2, 'which pass 2, to-float16, ends'],
  ])('may not have %s', (_, passes, index, message) => {
    const { error } = read(...passes)
    expect(error?.issues).toHaveLength(1)
    expect(error?.issues[0]).toMatchObject({ path: ['passes', index], message: expect.stringContaining(message) })
  })

  it('may not prune by what is folded away', () => {
    const prune = { pass: 'prune-channels', importance: 'batch-norm-gamma' } as const
    expect(orderFaults([{ pass: 'fold-batch-norm' }, { ...prune, importance: 'l2' }, prune])).toEqual([
      {
        index: 2,
        message:
          'pass 3, prune-channels, needs BatchNormalization nodes that are not folded yet, which pass 1, fold-batch-norm, ends: put prune-channels before that one',
      },
    ])
  })

  it('is told of every fault at once', () => {
    expect(read(HALF, STATIC, EQUALIZE).error?.issues).toHaveLength(2)
  })

  it.each([12, 22])('may not lift to opset %d', (version) => {
    expect(read({ pass: 'lift-opset', version }).success).toBe(false)
  })
})
