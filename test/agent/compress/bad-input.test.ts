import { EdgefitError } from '@edgefit/shared'
import { Recipe } from '@edgefit/shared/model'
import { floatTensor, type Model, node, type Tensor } from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import { buildVariant } from '../../../agent/compress/index.ts'
import type { FeedTensor } from '../../../agent/compress/runtime-port.ts'
import { openSession } from '../../../agent/measure/ort-session.ts'
import { pruning } from './prune/support.ts'
import { randomTensor, randomValues } from './support/graphs.ts'
import { float32, relativeError, run } from './support/runtime.ts'
import { SMALL_DIMS as DIMS, smallNetwork as network } from './support/small-network.ts'

const CALIBRATIONS = [
  { method: 'minmax', samples: 2 },
  { method: 'moving-average', samples: 2 },
  { method: 'percentile', percentile: 99.9, samples: 2 },
  { method: 'entropy', samples: 2 },
  { method: 'mse', samples: 2 },
]
const WEIGHTS = { type: 'int8', perChannel: true }
const quantizeStatic = (calibration: object = { method: 'minmax', samples: 2 }, type = 'uint8'): object => ({
  pass: 'quantize-static',
  activations: { type },
  weights: WEIGHTS,
  calibration,
})

/** Those that keep the function, and those that look at weights. */
const PREPARATION = ['fold-constants', 'remove-identities', 'remove-dropout', 'remove-dead-branches', 'lift-opset'].map(
  (pass) => ({ pass }),
)
const READ_WEIGHTS: readonly (readonly [string, readonly object[]])[] = [
  ['fold-batch-norm', [{ pass: 'fold-batch-norm' }]],
  ['equalize', [{ pass: 'equalize' }]],
  ['smooth-quant', [{ pass: 'smooth-quant', samples: 1 }]],
  ['prune-channels', [pruning()]],
  ['prune-weights', [{ pass: 'prune-weights', target: { by: 'sparsity', sparsity: 0.5 } }]],
  ['quantize-static', [quantizeStatic()]],
  ['quantize-dynamic', [{ pass: 'quantize-dynamic', weights: WEIGHTS }]],
  ['quantize-weights', [{ pass: 'quantize-weights', bits: 4 }]],
  ['quantize-weights, dequantize', [{ pass: 'quantize-weights', bits: 8, form: 'dequantize' }]],
  ['to-float16', [{ pass: 'to-float16' }]],
]
const EVERY = [...PREPARATION.map((pass) => [pass.pass, [pass]] as const), ...READ_WEIGHTS]

const sample = (seed: number): FeedTensor => float32(DIMS, randomValues(256, seed))

function build(source: Model, passes: readonly object[], samples: readonly FeedTensor[] = [sample(1), sample(2)]) {
  return buildVariant({
    source,
    recipe: Recipe.parse({ passes, runtime: { intraOpThreads: 1 } }),
    calibration: { count: samples.length, batch: ([at = 0]) => ({ x: samples[at] ?? sample(1) }) },
    openSession,
    threads: 1,
    signal: new AbortController().signal,
  })
}

/** How far the variant is from `source` on a sample, for a loaded and finite output. */
async function errorOf(source: Model, variant: Model, feed = sample(3)): Promise<number> {
  const [before, after] = [await run(source, { x: feed }), await run(variant, { x: feed })]
  expect(Array.from(after['y']?.data ?? [Number.NaN], Number).every(Number.isFinite)).toBe(true)
  return relativeError(before['y'], after['y'])
}

function with1(tensor: Tensor, at: number, value: number): Tensor {
  const values = new Float32Array(tensor.data.slice().buffer)
  values[at] = value
  return floatTensor(tensor.name, tensor.dims, values)
}

describe('weights that are no numbers', { timeout: 60_000 }, () => {
  const places = [
    ['the first convolution', randomTensor('w1', [8, 4, 3, 3], 1, 0.4), 100],
    ['a product', randomTensor('w3', [8, 32], 8), 17],
  ] as const
  it.each(
    READ_WEIGHTS.flatMap(([name, passes]) =>
      [Number.NaN, Number.POSITIVE_INFINITY].flatMap((value) =>
        places.map(([place, tensor, at]) => [name, value, place, passes, with1(tensor, at, value)] as const),
      ),
    ),
  )('are refused by %s by name, or nothing reads them: %d in %s', async (_, value, _place, passes, tensor) => {
    const source = network({ constants: [tensor] })
    const built = await build(source, passes).catch((error: unknown) => error)
    if (built instanceof Error) {
      expect(built).toBeInstanceOf(EdgefitError)
      expect(built).toMatchObject({ code: expect.stringMatching(/MODEL_INVALID|PASS_FAILED/) })
      // Pruning goes by layers, calibration by what it sees of them.
      const named = /sample \d gives|weights of "[ah]"/.test(built.message) ? '"' : `"${tensor.name}"`
      expect(built.message).toContain(named)
      return
    }
    // What does not read the tensor leaves it, and float16 has infinities.
    const { model } = built as Awaited<ReturnType<typeof build>>
    const stays = model.graph.initializers.get(tensor.name)?.data === tensor.data
    expect(
      stays ||
        (value === Number.POSITIVE_INFINITY && passes.some((pass) => 'pass' in pass && pass.pass === 'to-float16')),
    ).toBe(true)
  })

  it('leave a BatchNormalization unfolded that would make them', async () => {
    for (const constants of [
      [floatTensor('variance', [8], new Float32Array(8).fill(-1))],
      [with1(randomTensor('gamma', [8], 2), 3, Number.NaN)],
      [floatTensor('gamma', [8], new Float32Array(8).fill(3e38)), floatTensor('variance', [8], new Float32Array(8))],
    ]) {
      const source = network({ constants })
      const { model, reports } = await build(source, [{ pass: 'fold-batch-norm' }])
      expect(model).toBe(source)
      expect(reports[0]?.notes).toEqual([
        'BatchNormalization "BatchNormalization:n": not folded, its parameters give no finite weights',
      ])
    }
  })
})

describe('activations that say nothing', { timeout: 60_000 }, () => {
  const cases = CALIBRATIONS.flatMap((calibration) =>
    [0, 1, -3, 1e-42, 1e30].flatMap((value) =>
      (['uint8', 'int8'] as const).map((type) => [calibration.method, value, type, calibration] as const),
    ),
  )
  it.each(cases)('make a model that runs: %s, all %d, %s', async (_, value, type, calibration) => {
    const constant = float32(DIMS, new Float32Array(256).fill(value))
    const source = network()
    const { model } = await build(
      source,
      [{ pass: 'fold-batch-norm' }, quantizeStatic(calibration, type)],
      [constant, constant],
    )
    expect(await errorOf(source, model, constant)).toBeLessThan(0.2)
  })

  it('make a model that runs after repair too', async () => {
    const zeros = float32(DIMS, new Float32Array(256))
    const source = network()
    const repairs = [
      { pass: 'fold-batch-norm' },
      { pass: 'equalize' },
      { pass: 'smooth-quant', samples: 2 },
      quantizeStatic(),
      { pass: 'correct-bias', samples: 2 },
    ]
    const { model } = await build(source, repairs, [zeros, zeros])
    expect(await errorOf(source, model, zeros)).toBeLessThan(0.2)
  })
})

describe('channels too small for a scale', { timeout: 60_000 }, () => {
  it.each(READ_WEIGHTS.filter(([name]) => name !== 'prune-channels'))(
    'come out of %s as next to nothing',
    async (name, passes) => {
      const values = randomValues(8 * 8 * 9, 5, 0.3)
      values.fill(1e-42, 0, 72)
      values.fill(0, 72, 144)
      values.fill(1e-38, 144, 216)
      const product = randomValues(8 * 32, 8)
      for (let row = 0; row < 8; row++)
        for (const [column, tiny] of [0, 1e-42, 1e-38].entries()) product[row * 32 + column] = tiny
      const constants = [floatTensor('w2', [8, 8, 3, 3], values), floatTensor('w3', [8, 32], product)]
      const source = network({ constants })
      const { model } = await build(source, passes)
      const lossy = /quantize-weights$|prune/.test(name) ? 0.6 : name.includes('quant') ? 0.1 : 1e-3
      expect(await errorOf(source, model)).toBeLessThan(lossy)
    },
  )
})

describe('samples', { timeout: 60_000 }, () => {
  const calibrated: readonly (readonly [string, readonly object[]])[] = [
    ...CALIBRATIONS.map(
      (calibration) => [`quantize-static, ${calibration.method}`, [quantizeStatic(calibration)]] as const,
    ),
    ['smooth-quant', [{ pass: 'smooth-quant', samples: 2 }]],
    ['correct-bias', [{ ...quantizeStatic({ method: 'minmax', samples: 1 }) }, { pass: 'correct-bias', samples: 2 }]],
  ]
  it.each(
    calibrated.flatMap(([name, passes]) =>
      [Number.NaN, Number.POSITIVE_INFINITY].flatMap((value) =>
        [0, 77, 255].map((at) => [name, value, at, passes] as const),
      ),
    ),
  )('that are no numbers are refused by %s, which names the sample: %d at %d', async (_, value, at, passes) => {
    const bad = randomValues(256, 2)
    bad[at] = value
    await expect(build(network(), passes, [sample(1), float32(DIMS, bad)])).rejects.toMatchObject({
      code: 'PASS_FAILED',
      message: expect.stringMatching(/sample 1 gives values that are not finite at "/),
      details: expect.objectContaining({ sample: 1 }),
    })
  })

  it.each(calibrated)('of a shape that the model cannot take are refused by %s', async (_, passes) => {
    const wide = float32([1, 4, 9, 8], randomValues(288, 1))
    await expect(build(network(), passes, [sample(1), wide])).rejects.toMatchObject({
      code: expect.stringMatching(/DATASET_MISMATCH|MODEL_UNSUPPORTED|PASS_FAILED/),
      message: expect.stringMatching(/dimension|shape|Got/i),
    })
  })

  it.each(calibrated)('of several lengths are taken by %s where the model is open', async (_, passes) => {
    const source = network({ dims: ['n', 4, 'h', 'w'] })
    const wide = float32([2, 4, 9, 12], randomValues(864, 1))
    const { model } = await build(source, passes, [sample(1), wide])
    expect(await errorOf(source, model, wide)).toBeLessThan(0.3)
  })
})

describe('models that nothing is known of', { timeout: 60_000 }, () => {
  it.each(EVERY)('of unknown rank: %s makes one that runs, or says why not', async (_, passes) => {
    const known = network()
    const inputs = [{ name: 'x', type: { kind: 'tensor', dataType: 'FLOAT' } as const }]
    const source = { ...known, graph: { ...known.graph, inputs } }
    const built = await build(source, passes).catch((error: unknown) => error)
    if (built instanceof Error) expect(built).toMatchObject({ code: 'MODEL_UNSUPPORTED' })
    else expect(await errorOf(source, (built as Awaited<ReturnType<typeof build>>).model)).toBeLessThan(2)
  })

  it.each(EVERY.flatMap(([name, passes]) => ['', 'acme.example'].map((domain) => [name, domain, passes] as const)))(
    'with an operator that nobody knows: %s leaves it, or refuses, in domain "%s"',
    async (_, domain, passes) => {
      const known = network()
      const unknown = node({ opType: 'Mystery', domain, name: 'mystery', inputs: ['d'], outputs: ['m'] })
      const nodes = known.graph.nodes.flatMap((one) =>
        one.opType === 'GlobalAveragePool' ? [unknown, { ...one, inputs: ['m'] }] : [one],
      )
      const source = {
        ...known,
        opsetImports: new Map([...known.opsetImports, ...(domain === '' ? [] : [[domain, 1] as const])]),
        graph: { ...known.graph, nodes },
      }
      const built = await build(source, passes).catch((error: unknown) => error)
      if (built instanceof Error) {
        expect(built).toMatchObject({
          code: 'MODEL_UNSUPPORTED',
          message: expect.stringMatching(/[Mm]ystery|"y" does not state its rank/),
        })
        return
      }
      const { model } = built as Awaited<ReturnType<typeof build>>
      expect(model.graph.nodes.filter(({ opType }) => opType === 'Mystery')).toEqual([unknown])
      expect(model.opsetImports.get(domain)).toBe(source.opsetImports.get(domain))
    },
  )
})
