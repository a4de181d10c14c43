import { Recipe } from '@edgefit/shared/model'
import { encodeModel } from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import { buildVariant } from '../../../agent/compress/index.ts'
import { openSession } from '../../../agent/measure/ort-session.ts'
import { pruning } from './prune/support.ts'
import { randomValues } from './support/graphs.ts'
import { float32, run } from './support/runtime.ts'
import { SMALL_DIMS, smallNetwork } from './support/small-network.ts'
import { sqnr } from './support/sqnr.ts'

const WEIGHTS = { type: 'int8', perChannel: true }
const PASSES: readonly ({ readonly pass: string } & Readonly<Record<string, unknown>>)[] = [
  { pass: 'fold-constants' },
  { pass: 'remove-identities' },
  { pass: 'remove-dropout' },
  { pass: 'remove-dead-branches' },
  { pass: 'lift-opset' },
  { pass: 'fold-batch-norm' },
  { pass: 'estimate-batch-norm', samples: 1 },
  { pass: 'equalize' },
  { pass: 'smooth-quant', samples: 1 },
  pruning({ ratio: 0.3 }),
  { pass: 'scale-width', width: 0.7, alignTo: 1, weights: { kind: 'largest' } },
  { pass: 'scale-width', width: 0.7, alignTo: 1, weights: { kind: 'random', samples: 1 } },
  { pass: 'prune-weights', target: { by: 'sparsity', sparsity: 0.2 } },
  {
    pass: 'quantize-static',
    activations: { type: 'uint8' },
    weights: WEIGHTS,
    calibration: { method: 'minmax', samples: 1 },
  },
  { pass: 'quantize-dynamic', weights: WEIGHTS },
  { pass: 'quantize-weights', bits: 8 },
  { pass: 'quantize-weights', bits: 8, form: 'dequantize' },
  { pass: 'to-float16' },
  { pass: 'to-float16', compute: 'float16' },
  { pass: 'correct-bias', samples: 1 },
]
const nameOf = (pass: object): string =>
  Object.values(pass)
    .filter((value) => typeof value !== 'object')
    .join(' ')

/** What is left of the outputs after a pass, in dB. */
function leastSqnr({ pass, weights }: (typeof PASSES)[number]): number {
  if (weights !== undefined && typeof weights === 'object' && weights !== null && 'kind' in weights) {
    return weights.kind === 'random' ? -40 : -5
  }
  return pass.startsWith('prune') ? -5 : 15
}

const feeds = { x: float32(SMALL_DIMS, randomValues(256, 1)) }

/** Of pairs whose second pass finds everything taken by the first. */
const NOTHING_LEFT = /has none|has no |already/

describe('every order of two passes that a recipe may have makes a model that runs:', { timeout: 60_000 }, () => {
  it.each(PASSES.map((first) => [nameOf(first), first] as const))('%s, and then', async (_, first) => {
    const source = smallNetwork()
    const before = await run(source, feeds)
    let allowed = 0
    for (const second of PASSES) {
      const passes = [first, second]
      const { success, data: recipe } = Recipe.safeParse({ passes, runtime: { intraOpThreads: 1 } })
      if (!success) continue
      allowed++
      const built = await buildVariant({
        source,
        recipe,
        calibration: { count: 1, batch: () => feeds },
        openSession,
        threads: 1,
        signal: new AbortController().signal,
      }).catch((error: unknown) => error)
      if (built instanceof Error) {
        expect(built).toMatchObject({ code: 'MODEL_UNSUPPORTED', message: expect.stringMatching(NOTHING_LEFT) })
        continue
      }
      const { model, resolved } = built as Awaited<ReturnType<typeof buildVariant>>
      const noise = sqnr(before['y'], (await run(model, feeds))['y'])
      expect(noise, nameOf(second)).toBeGreaterThan(Math.min(...[first, second].map(leastSqnr)))
      // The same bytes from the resolved recipe, without samples.
      const again = await buildVariant({
        source,
        recipe: Recipe.parse(JSON.parse(JSON.stringify(resolved))),
        calibration: { count: 0, batch: () => ({}) },
        openSession: () => Promise.reject(new Error('needs no samples')),
        threads: 1,
        signal: new AbortController().signal,
      })
      expect(encodeModel(again.model)).toEqual(encodeModel(model))
    }
    expect(allowed > 0).toBe(first.pass !== 'correct-bias')
  })
})
