import { type Pass, Recipe } from '@edgefit/shared/model'
import { decodeModel, encodeModel, type Graph, type Model, subgraphs } from '@edgefit/shared/onnx'
import { afterAll, describe, expect, it } from 'vitest'
import { buildVariant } from '../../../agent/compress/index.ts'
import { liftOpset } from '../../../agent/compress/lift-opset/lift-opset.ts'
import type { FeedTensor, OutputTensor } from '../../../agent/compress/runtime-port.ts'
import { pruning } from './prune/support.ts'
import { EVERY_MODEL } from './support/every-model.ts'
import { openSession, relativeError } from './support/runtime.ts'
import { sqnr } from './support/sqnr.ts'
import { INT8_WEIGHTS, LESS_DB } from './support/weight-bits.ts'

type Feeds = Readonly<Record<string, FeedTensor>>
type Outputs = Readonly<Record<string, OutputTensor>>

/** Preparation: the same function but for rounding. */
const PREPARATION: readonly object[] = [
  { pass: 'fold-constants' },
  { pass: 'remove-identities' },
  { pass: 'remove-dropout' },
  { pass: 'remove-dead-branches' },
  { pass: 'lift-opset', version: 18 },
  { pass: 'lift-opset', version: 21 },
  { pass: 'fold-batch-norm' },
  { pass: 'equalize' },
  { pass: 'smooth-quant', samples: 3 },
]

const STATIC = { pass: 'quantize-static', activations: { type: 'uint8' }, weights: INT8_WEIGHTS }

/**
 * Another function: the least signal to noise in dB, on the outputs of three samples, 3 to 4 dB below what the worst
 * model gave; models apart are those whose own outputs are close to noise, or fed with it.
 */
const LOSSY: readonly (readonly [limits: Limits, ...passes: readonly object[]])[] = [
  [
    { db: 22 - LESS_DB, silero: 11 },
    { ...STATIC, calibration: { method: 'minmax', samples: 3 } },
  ],
  [
    { db: 29 - LESS_DB, silero: 18 },
    { ...STATIC, calibration: { method: 'minmax', samples: 3 } },
    { pass: 'correct-bias', samples: 3 },
  ],
  [{ db: 32 - LESS_DB }, { pass: 'quantize-dynamic', weights: INT8_WEIGHTS }],
  [{ db: 39 }, { pass: 'quantize-weights', bits: 8 }],
  [{ db: 17 }, { pass: 'quantize-weights', bits: 4 }],
  [{ db: 16 }, { pass: 'quantize-weights', bits: 4, symmetric: false, form: 'dequantize' }],
  [{ db: 45, mobilenet: 35 }, { pass: 'to-float16' }],
  [
    { db: 45, mobilenet: 36 },
    { pass: 'to-float16', compute: 'float16' },
  ],
  [
    { db: 3, mobilenet: -5 },
    { pass: 'prune-weights', target: { by: 'sparsity', sparsity: 0.2 } },
  ],
  [{ db: -14 }, pruning()],
  [{ db: -1 }, { pass: 'estimate-batch-norm', samples: 3 }],
  [{ db: -14 }, { pass: 'scale-width', width: 0.5, weights: { kind: 'largest' } }],
  [{ db: -9 }, { pass: 'scale-width', width: 0.5, weights: { kind: 'random', samples: 3 } }],
]

interface Limits {
  readonly db: number
  readonly silero?: number
  readonly mobilenet?: number
}

function limitFor(name: string, { db, silero = db, mobilenet = db }: Limits): number {
  if (name.startsWith('silero_vad/')) return silero
  return name.startsWith('mobilenet_v2/') ? mobilenet : db
}

function passesOf(...passes: readonly object[]): readonly Pass[] {
  return Recipe.parse({ passes, runtime: { intraOpThreads: 1 } }).passes
}

const nameOf = (passes: readonly object[]): string =>
  passes
    .map((pass) =>
      Object.values(pass)
        .filter((value) => typeof value !== 'object')
        .join(' '),
    )
    .join(', ')

function build(source: Model, passes: readonly Pass[], feeds: readonly Feeds[]) {
  return buildVariant({
    source,
    recipe: Recipe.parse({ passes, runtime: { intraOpThreads: 1 } }),
    calibration: { count: feeds.length, batch: ([at = 0]) => feeds[at] ?? {} },
    openSession,
    threads: 1,
    signal: new AbortController().signal,
  })
}

async function outputsOf(bytes: Uint8Array, feeds: readonly Feeds[], graphOptimization: 'all' | 'disabled' = 'all') {
  const session = await openSession(bytes, { graphOptimization, threads: 1 })
  const outputs: Outputs[] = []
  for (const one of feeds) outputs.push(await session.run(one))
  await session.release()
  return outputs
}

function worst(
  before: readonly Outputs[],
  after: readonly Outputs[],
  measure: typeof relativeError,
): readonly number[] {
  return before.flatMap((outputs, at) => Object.keys(outputs).map((name) => measure(outputs[name], after[at]?.[name])))
}

/** What control flow holds, in graph order. */
function inner({ nodes }: Graph): readonly Graph[] {
  return nodes.flatMap((node) => subgraphs(node).map(([, graph]) => graph))
}

/** Passes that find nothing to work on, by model. */
const REFUSED: Readonly<Record<string, RegExp>> = {
  'branches and loops, opset 11': /prune-channels|scale-width/,
  'branches and loops, opset 17': /prune-channels|scale-width/,
  'branches and loops, opset 21': /prune-channels|scale-width/,
  'mobilenet_v2/model.onnx': /quantize-dynamic|quantize-weights/,
  'onnx_light/light_densenet121.onnx': /quantize-dynamic|quantize-weights/,
  'silero_vad/silero_vad_16k_op15.onnx': /quantize-dynamic|quantize-weights/,
  'silero_vad/silero_vad_op18_ifless.onnx': /quantize|prune-channels|scale-width/,
}

/** With everything in branches, what is not touched computes the very same. */
const HAS_BRANCHES = /^(branches|silero)/
const TOUCHES_NO_NUMBERS = /^(fold-constants|remove-|lift-opset)/

describe.each(EVERY_MODEL)('on $name,', { timeout: 240_000 }, ({ name, present, large, load, feeds: feedsFor }) => {
  let loaded: { readonly model: Model; readonly bytes: Uint8Array; readonly feeds: readonly Feeds[] } | undefined
  const given = () => {
    const model = loaded?.model ?? load()
    loaded ??= { model, bytes: encodeModel(model), feeds: feedsFor(model) }
    return loaded
  }
  afterAll(() => {
    loaded = undefined
  })

  it.skipIf(!present).each(PREPARATION.map((pass) => [nameOf([pass]), pass] as const))(
    '%s keeps the outputs',
    async (which, pass) => {
      const { model, bytes, feeds } = given()
      const variant = await build(model, passesOf(pass), feeds)
      const after = await outputsOf(variant.bytes, feeds)
      expect(Math.max(...worst(await outputsOf(bytes, feeds), after, relativeError))).toBeLessThan(2e-5)
      if (HAS_BRANCHES.test(name) && TOUCHES_NO_NUMBERS.test(which)) {
        const [before, unfused] = [
          await outputsOf(bytes, feeds, 'disabled'),
          await outputsOf(variant.bytes, feeds, 'disabled'),
        ]
        expect(unfused).toEqual(before)
      }
      if (large) return
      // Applied to what was written, it finds nothing more to do.
      const again = await build(decodeModel(variant.bytes), passesOf(pass), feeds)
      expect(again.model.graph.nodes.length).toBe(variant.model.graph.nodes.length)
    },
  )

  const lossy = LOSSY.filter(([, ...passes]) => !large || passes.length === 1)
  it
    .skipIf(!present)
    .each(lossy.map(([limits, ...passes]) => [nameOf(passes), limitFor(name, limits), passes] as const))(
    '%s loses little, or says why not',
    async (which, db, passes) => {
      const { model, bytes, feeds } = given()
      if (REFUSED[name]?.test(which) === true) {
        await expect(build(model, passesOf(...passes), feeds)).rejects.toMatchObject({
          code: 'MODEL_UNSUPPORTED',
          message: expect.stringMatching(/^pass 1, .* (has none|has no|can be removed)/),
        })
        return
      }
      const variant = await build(model, passesOf(...passes), feeds)
      const after = await outputsOf(variant.bytes, feeds)
      expect(Math.min(...worst(await outputsOf(bytes, feeds), after, sqnr))).toBeGreaterThan(db)
      if (!HAS_BRANCHES.test(name)) return
      // Weights in float16 have other names where branches read them, pruning writes what types it found; else branches
      // stay, but for a newer opset.
      const opset = variant.model.opsetImports.get('') ?? 0
      if (!/^(to-float16|prune-channels|scale-width)/.test(which))
        expect(inner(variant.model.graph)).toEqual(inner(liftOpset(model, opset).graph))
      if (which.startsWith('quantize'))
        expect(variant.reports[0]?.notes.join()).toMatch(/If "[^"]+".*: .*stays as it is/)
    },
  )
})
