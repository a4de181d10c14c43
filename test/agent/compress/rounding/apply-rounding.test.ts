import { type Pass, Recipe } from '@edgefit/shared/model'
import {
  asFloat32,
  asInt8,
  asUint8,
  floatTensor,
  int64Tensor,
  intsValue,
  intValue,
  type Model,
  type Tensor,
} from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import { type BuildProgress, buildVariant } from '../../../../agent/compress/index.ts'
import type { FeedTensor } from '../../../../agent/compress/runtime-port.ts'
import { modelOf, op, randomTensor, randomValues } from '../support/graphs.ts'
import { batchOf, calibrationOn, demoModel, fashionMnist } from '../support/real-models.ts'
import { float32, openSession, run } from '../support/runtime.ts'
import { sqnr } from '../support/sqnr.ts'

const SAMPLES = 96
const DIMS = [1, 4, 6, 6]
const ROUNDING = { method: 'adaptive', samples: SAMPLES, iterations: 150 }
const STATIC = {
  pass: 'quantize-static',
  activations: { type: 'uint8' },
  weights: { type: 'int8', perChannel: false, reducedRange: true },
  calibration: { method: 'minmax', samples: SAMPLES },
}
const WEIGHT_ONLY = { pass: 'quantize-weights', bits: 4, blockSize: 16 }

/** Every kind of layer that is rounded: convolutions dense, depthwise and strided, Gemm either way round and MatMul. */
function network(outlier = 1): Model {
  return modelOf({
    inputs: { x: DIMS },
    outputs: ['y'],
    nodes: [
      op('Conv', 'x w1 b1 -> a', { pads: intsValue([1, 1, 1, 1]) }),
      op('Relu', 'a -> b'),
      op('Conv', 'b w2 -> c', { group: intValue(8), pads: intsValue([1, 1, 1, 1]), strides: intsValue([2, 2]) }),
      op('Transpose', 'c -> t', { perm: intsValue([0, 2, 3, 1]) }),
      op('Reshape', 't rows -> d'),
      op('Gemm', 'd w3 b3 -> e', { transB: intValue(1) }),
      op('Relu', 'e -> f'),
      op('Gemm', 'f w4 b4 -> g'),
      op('MatMul', 'g w5 -> y'),
    ],
    constants: [
      uneven('w1', [8, 4, 3, 3], 1, 0.4, outlier),
      randomTensor('b1', [8], 2, 0.3),
      uneven('w2', [8, 1, 3, 3], 3, 0.5, outlier),
      uneven('w3', [16, 8], 4, 0.5, outlier),
      randomTensor('b3', [16], 5, 0.3),
      uneven('w4', [16, 8], 6, 0.5, outlier),
      randomTensor('b4', [8], 7, 0.3),
      uneven('w5', [8, 5], 8, 0.5, outlier),
      int64Tensor('rows', [2], [9, 8]),
    ],
  })
}

/** With one weight for which the steps of all have to be large. */
function uneven(name: string, dims: readonly number[], seed: number, scale: number, outlier: number): Tensor {
  const values = Float32Array.from(asFloat32(randomTensor(name, dims, seed, scale)))
  values[0] = outlier * scale
  return floatTensor(name, dims, values)
}

/** Channels that go together, as those of pictures do. */
function sample(seed: number): FeedTensor {
  const own = randomValues(144, 1000 + seed, 0.5)
  const common = randomValues(36, 2000 + seed)
  return float32(
    DIMS,
    own.map((value, at) => value + (common[at % 36] ?? 0)),
  )
}

interface Building {
  readonly source?: Model
  readonly feeds?: (at: number) => Readonly<Record<string, FeedTensor>>
  readonly onProgress?: (event: BuildProgress) => void
  readonly signal?: AbortSignal
}

function build(passes: readonly object[], { source = network(), feeds, onProgress, signal }: Building = {}) {
  const recipe = Recipe.parse({ passes, runtime: { intraOpThreads: 1 } })
  return buildVariant({
    source,
    recipe,
    calibration: { count: SAMPLES, batch: ([at = 0]) => feeds?.(at) ?? { x: sample(at) } },
    openSession,
    threads: 1,
    ...(onProgress && { onProgress }),
    signal: signal ?? new AbortController().signal,
  })
}

/** Mean over samples that nothing was calibrated with. */
async function outputSqnr(variant: Model, source = network()): Promise<number> {
  let sum = 0
  for (let at = 0; at < 20; at++) {
    const feeds = { x: sample(500 + at) }
    const [expected, actual] = [await run(source, feeds), await run(variant, feeds)]
    sum += sqnr(expected['y'], actual['y']) / 20
  }
  return sum
}

function quantizedTensors(model: Model): ReadonlyMap<string, Tensor> {
  return new Map(
    [...model.graph.initializers].flatMap(([name, tensor]) => {
      const [weights, what] = name.split('/')
      return what === 'quantized' && tensor.dataType === 'INT8' ? [[weights ?? '', tensor] as const] : []
    }),
  )
}

describe('adaptive rounding', { timeout: 60_000 }, () => {
  it('brings static int8 closer to the float model, every weight at the step above or below it', async () => {
    const source = network(20)
    const nearest = await build([STATIC], { source })
    const adaptive = await build([{ ...STATIC, rounding: ROUNDING }], { source })

    expect(adaptive.reports[0]?.notes).toContainEqual(
      expect.stringMatching(/^weights of [1-5] of 5 layers rounded adaptively$/),
    )
    expect(await outputSqnr(adaptive.model, source)).toBeGreaterThan((await outputSqnr(nearest.model, source)) + 2)
    const before = quantizedTensors(nearest.model)
    const after = quantizedTensors(adaptive.model)
    let moved = 0
    for (const [name, tensor] of after) {
      const scales = adaptive.model.graph.initializers.get(`${name}/scale`)
      const weights = source.graph.initializers.get(name)
      if (weights === undefined || scales === undefined) throw new Error(`no "${name}"`)
      expect(scales).toEqual(nearest.model.graph.initializers.get(`${name}/scale`))
      const [scale = 1] = asFloat32(scales)
      for (const [at, value] of asInt8(tensor).entries()) {
        const steps = Math.fround((asFloat32(weights)[at] ?? 0) / scale)
        expect([Math.floor(steps), Math.ceil(steps)]).toContain(value)
        moved += value === asInt8(before.get(name) ?? tensor)[at] ? 0 : 1
      }
    }
    expect([...after.keys()].sort()).toEqual(['w1', 'w2', 'w3', 'w4', 'w5'])
    expect(moved).toBeGreaterThan(20)
  })

  it.each([
    { type: 'int8', perChannel: true, reducedRange: false },
    { type: 'int8', perChannel: false, reducedRange: true },
    { type: 'uint8', perChannel: true, reducedRange: false },
  ] as const)('rounds as the recipe says: %o', async (weights) => {
    const [nearest] = (await build([{ ...STATIC, weights }])).resolved.passes
    // Of 128 weights the first 64 up, the others down.
    const roundings = { w3: Buffer.from(Array.from({ length: 16 }, (_, at) => (at < 8 ? 255 : 0))).toString('base64') }

    const { model } = await build([{ ...nearest, roundings }])

    const { initializers } = model.graph
    const [values, scales, original] = ['w3/quantized', 'w3/scale', 'w3'].map(
      (name) => initializers.get(name) ?? network().graph.initializers.get(name),
    )
    if (values === undefined || scales === undefined || original === undefined) throw new Error('no w3')
    const zeroPoint = weights.type === 'int8' ? 0 : 128
    const stored = Array.from(weights.type === 'int8' ? asInt8(values) : asUint8(values), (value) => value - zeroPoint)
    const perOutput = asFloat32(scales)
    for (const [at, value] of stored.entries()) {
      const scale = perOutput[perOutput.length === 1 ? 0 : Math.floor(at / 8)] ?? 1
      const steps = Math.fround((asFloat32(original)[at] ?? 0) / scale)
      expect([at, value]).toEqual([at, (at < 64 ? Math.ceil(steps) : Math.floor(steps)) + 0])
    }
  })

  it.each([
    { symmetric: true, form: 'matmulnbits' },
    { symmetric: false, form: 'dequantize' },
  ])('brings weights of 4 bits closer: %o', async (format) => {
    const nearest = await build([{ ...WEIGHT_ONLY, ...format }])
    const adaptive = await build([{ ...WEIGHT_ONLY, ...format, rounding: ROUNDING }])

    expect(adaptive.reports[0]?.notes).toContainEqual(
      expect.stringMatching(/^weights of [23] of 3 layers rounded adaptively$/),
    )
    expect(await outputSqnr(adaptive.model)).toBeGreaterThan((await outputSqnr(nearest.model)) + 2)
    // All that differs are the values.
    const sizes = ({ model }: { model: Model }) => [...model.graph.initializers].map(([name, { dims }]) => [name, dims])
    expect(sizes(adaptive)).toEqual(sizes(nearest))
    for (const [name, { dataType, data }] of adaptive.model.graph.initializers) {
      if (dataType === 'FLOAT') expect(data).toEqual(nearest.model.graph.initializers.get(name)?.data)
    }
  })

  it.each([
    ['static', STATIC],
    ['weight-only', WEIGHT_ONLY],
  ])('gives the same bytes again, and from the resolved recipe without running anything: %s', async (_, pass) => {
    const rounding = { ...ROUNDING, iterations: 20, seed: 3 }
    const first = await build([{ ...pass, rounding }])
    const second = await build([{ ...pass, rounding }])

    expect(second.bytes).toEqual(first.bytes)
    const resolved = await buildVariant({
      source: network(),
      recipe: Recipe.parse(JSON.parse(JSON.stringify(first.resolved))),
      calibration: { count: 0, batch: () => Promise.reject(new Error('samples were asked for')) },
      openSession: () => Promise.reject(new Error('the runtime was asked for')),
      threads: 1,
      signal: new AbortController().signal,
    })
    expect(resolved.bytes).toEqual(first.bytes)
    expect(resolved.resolved).toEqual(first.resolved)
  })

  it('draws other rows with another seed', async () => {
    const withSeed = (seed: number) => build([{ ...STATIC, rounding: { ...ROUNDING, iterations: 20, seed } }])

    expect((await withSeed(1)).bytes).not.toEqual((await withSeed(2)).bytes)
  })

  it('keeps to nearest, with a note, what it cannot round', async () => {
    const source = modelOf({
      inputs: { x: [1, 8] },
      outputs: ['y'],
      nodes: [
        op('MatMul', 'x w -> a'),
        op('Relu', 'a -> b'),
        op('MatMul', 'b w -> c'),
        op('Unsqueeze', 'c axes -> d'),
        op('MatMul', 'd stacked -> e'),
        op('Flatten', 'e -> f'),
        op('MatMul', 'f v -> y'),
      ],
      constants: [
        randomTensor('w', [8, 8], 1),
        randomTensor('stacked', [2, 8, 4], 2),
        randomTensor('v', [4, 3], 3),
        int64Tensor('axes', [1], [0]),
      ],
    })
    const feeds = (at: number) => ({ x: float32([1, 8], randomValues(8, at)) })
    const passes = [{ ...STATIC, rounding: { ...ROUNDING, iterations: 10 } }]

    const { reports, resolved } = await build(passes, { source, feeds })

    const notes = reports[0]?.notes.join('\n')
    expect(notes).toContain('MatMul "MatMul:a", "MatMul:c": rounded to nearest, others share its weights')
    expect(notes).toContain('MatMul "MatMul:e": rounded to nearest, its weights are not a matrix')
    expect(Object.keys(roundingsOf(resolved.passes))).not.toContain('w')

    const one = await build([{ ...STATIC, rounding: { ...ROUNDING, samples: 1 } }], {
      source: modelOf({
        inputs: { x: [1, 8] },
        outputs: ['y'],
        nodes: [op('MatMul', 'x v -> y')],
        constants: [randomTensor('v', [8, 3], 3)],
      }),
      feeds,
    })
    expect(one.reports[0]?.notes.join()).toContain('rounded to nearest, the samples give it less than two rows')
  })

  it('refuses roundings of another model, and more samples than there are', async () => {
    const { resolved } = await build([{ ...STATIC, rounding: { ...ROUNDING, iterations: 1 } }])
    const [pass] = resolved.passes

    await expect(build([{ ...pass, exclude: ['Conv:c'], roundings: { w2: 'AAAAAAAAAAAA' } }])).rejects.toMatchObject({
      code: 'RECIPE_INVALID',
    })
    await expect(build([{ ...STATIC, rounding: { ...ROUNDING, samples: 99 } }])).rejects.toMatchObject({
      code: 'DATASET_INVALID',
      message: expect.stringContaining('99 samples'),
    })
  })

  it('says how far it is, and ends when it is told to', async () => {
    const controller = new AbortController()
    const shares: number[] = []
    const building = build([{ ...STATIC, rounding: ROUNDING }], {
      signal: controller.signal,
      onProgress: ({ calibration }) => {
        if (calibration === undefined) return
        shares.push(calibration.done / calibration.total)
        if (calibration.stage === 'rounding' && shares.length > 200) controller.abort(new Error('enough'))
      },
    })

    await expect(building).rejects.toThrow('enough')
    expect(shares.filter((share, at) => share < (shares[at - 1] ?? 0) - 1e-9 || share > 1)).toEqual([])
    expect(shares.length).toBe(201)
  })

  it('wins back what one scale for all weights loses on a real model', { timeout: 120_000 }, async () => {
    const source = demoModel('fashion-mobilenetv2')
    const pictures = fashionMnist()
    const calibration = calibrationOn(pictures, 32)
    const fold = { pass: 'fold-batch-norm' }
    const built = (passes: readonly object[]) =>
      buildVariant({
        source,
        recipe: Recipe.parse({ passes, runtime: { intraOpThreads: 1 } }),
        calibration,
        openSession,
        threads: 1,
        signal: new AbortController().signal,
      })
    const tensor = {
      ...STATIC,
      weights: { type: 'int8', perChannel: false },
      calibration: { method: 'minmax', samples: 32 },
    }

    const nearest = await built([fold, tensor])
    const adaptive = await built([fold, { ...tensor, rounding: { method: 'adaptive', samples: 32, iterations: 20 } }])

    const feeds = batchOf(pictures, 100, 160)
    const [expected, before, after] = [
      await run(source, feeds),
      await run(nearest.model, feeds),
      await run(adaptive.model, feeds),
    ]
    const [name = ''] = Object.keys(expected)
    const gained = sqnr(expected[name], after[name]) - sqnr(expected[name], before[name])
    expect(gained).toBeGreaterThan(1)
  })
})

function roundingsOf(passes: readonly Pass[]): Readonly<Record<string, string>> {
  return passes.flatMap((pass) => ('roundings' in pass && pass.roundings ? [pass.roundings] : []))[0] ?? {}
}
