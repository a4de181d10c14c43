import { EdgefitError } from '@edgefit/shared'
import { type Pass, Recipe } from '@edgefit/shared/model'
import { decodeModel, encodeModel, intsValue, type Model } from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import {
  type BuildInput,
  type BuildProgress,
  buildVariant,
  type CalibrationSource,
  type OpenSession,
} from '../../../agent/compress/index.ts'
import { modelOf, op, randomTensor, randomValues } from './support/graphs.ts'
import { float32, openSession, operatorCounts } from './support/runtime.ts'

const DIMS = [1, 4, 8, 8]

function network(): Model {
  const parameters = ['gamma', 'beta', 'mean', 'variance'].map((name, at) => ({
    ...randomTensor(name, [4], at + 3),
    ...(name === 'variance' ? { data: new Uint8Array(Float32Array.of(1, 2, 3, 4).buffer) } : {}),
  }))
  return modelOf({
    inputs: { x: DIMS },
    outputs: ['y'],
    nodes: [
      op('Conv', 'x w -> a', { pads: intsValue([1, 1, 1, 1]) }),
      op('BatchNormalization', 'a gamma beta mean variance -> n'),
      op('Relu', 'n -> r'),
      op('GlobalAveragePool', 'r -> g'),
      op('Flatten', 'g -> f'),
      op('Gemm', 'f v -> y'),
    ],
    constants: [randomTensor('w', [4, 4, 3, 3], 1), randomTensor('v', [4, 3], 2), ...parameters],
  })
}

const samples: CalibrationSource = {
  count: 8,
  batch: ([index = 0]) => ({ x: float32(DIMS, randomValues(256, index + 1)) }),
}

const FOLD: Pass = { pass: 'fold-batch-norm' }
const DYNAMIC: Pass = {
  pass: 'quantize-dynamic',
  weights: { type: 'int8', perChannel: true, reducedRange: false },
  exclude: [],
}
const STATIC = {
  pass: 'quantize-static',
  activations: { type: 'uint8' },
  weights: { type: 'int8', perChannel: true, reducedRange: false },
  calibration: { method: 'percentile', percentile: 99, samples: 8 },
  exclude: [],
} as const satisfies Pass

function build(passes: readonly Pass[], given: Partial<BuildInput> = {}) {
  return buildVariant({
    source: network(),
    recipe: {
      schemaVersion: 1,
      label: 'test',
      passes: [...passes],
      runtime: { intraOpThreads: 1, allowSpinning: false, memoryArena: true },
    },
    calibration: samples,
    openSession,
    threads: 1,
    signal: new AbortController().signal,
    ...given,
  })
}

const refuseToOpen: OpenSession = () => Promise.reject(new Error('calibration is not needed here'))
const refuseToSample: CalibrationSource = { count: 0, batch: () => Promise.reject(new Error('no samples here')) }

describe('building a variant', () => {
  it('applies the passes in order and reports what each did', async () => {
    const { model, bytes, reports } = await build([FOLD, STATIC])

    expect(operatorCounts(model)).toMatchObject({ Conv: 1, Gemm: 1, QuantizeLinear: 4 })
    expect(operatorCounts(decodeModel(bytes))).toEqual(operatorCounts(model))
    expect(reports.map(({ pass }) => pass)).toEqual(['fold-batch-norm', 'quantize-static'])
    const [fold, quantize] = reports
    expect(fold).toMatchObject({ nodesBefore: 6, nodesAfter: 5, notes: [] })
    expect(quantize).toMatchObject({ nodesBefore: 5, bytesBefore: fold?.bytesAfter })
    expect(quantize?.bytesAfter).toBeLessThan((quantize?.bytesBefore ?? 0) / 2)
  })

  it('is the source itself where there are no passes', async () => {
    const source = network()
    const { model, bytes, resolved } = await build([], { source })
    expect(model).toBe(source)
    expect(bytes).toEqual(encodeModel(source))
    expect(resolved.passes).toEqual([])
  })

  it('leaves the source as it was', async () => {
    const source = network()
    const before = encodeModel(source)
    await build([FOLD, STATIC], { source })
    expect(encodeModel(source)).toEqual(before)
  })

  it('gives the same bytes for the same inputs', async () => {
    const [first, second] = [await build([FOLD, STATIC]), await build([FOLD, STATIC])]
    expect(second.bytes).toEqual(first.bytes)
    expect(second.resolved).toEqual(first.resolved)
  })

  it('gives the same bytes from the resolved recipe, which needs neither samples nor runtime', async () => {
    const first = await build([FOLD, STATIC])
    // As it travels: through JSON and the schema.
    const recipe = Recipe.parse(JSON.parse(JSON.stringify(first.resolved)))

    const again = await build([], { recipe, openSession: refuseToOpen, calibration: refuseToSample })

    expect(recipe.passes[1]).toHaveProperty('ranges')
    expect(again.bytes).toEqual(first.bytes)
    expect(again.resolved).toEqual(recipe)
  })

  it('keeps label and runtime settings in the resolved recipe', async () => {
    const { resolved } = await build([DYNAMIC])
    expect(resolved).toMatchObject({ label: 'test', runtime: { intraOpThreads: 1 }, passes: [DYNAMIC] })
  })

  it('calibrates differently by minmax and by percentile', async () => {
    const minmax = { ...STATIC, calibration: { method: 'minmax', samples: 8 } } as const
    const rangeOf = ({ resolved }: Awaited<ReturnType<typeof build>>) => {
      const [pass] = resolved.passes
      return pass?.pass === 'quantize-static' ? pass.ranges?.['x'] : undefined
    }
    const [wide, narrow] = [rangeOf(await build([minmax])), rangeOf(await build([STATIC]))]
    expect(narrow?.[1]).toBeLessThan(wide?.[1] ?? 0)
    expect(narrow?.[0]).toBeGreaterThan(wide?.[0] ?? 0)
  })

  it('tells which pass is at work and how far calibration is', async () => {
    const events: BuildProgress[] = []
    await build([FOLD, STATIC], { onProgress: (event) => events.push(event) })
    expect(events.slice(0, 3)).toEqual([
      { pass: 'fold-batch-norm', index: 0, count: 2 },
      { pass: 'quantize-static', index: 1, count: 2 },
      { pass: 'quantize-static', index: 1, count: 2, calibration: { stage: 'minmax', done: 1, total: 16 } },
    ])
    expect(events.at(-1)?.calibration).toEqual({ stage: 'histogram', done: 16, total: 16 })
  })

  it('names the pass that refuses the model', async () => {
    const source = modelOf({ inputs: { x: [2] }, outputs: ['y'], nodes: [op('Relu', 'x -> y')] })
    await expect(build([FOLD, DYNAMIC], { source })).rejects.toMatchObject({
      code: 'MODEL_UNSUPPORTED',
      message: expect.stringMatching(/^pass 2, quantize-dynamic: /),
      details: { pass: 'quantize-dynamic', index: 1 },
      cause: expect.any(EdgefitError),
    })
  })

  it('refuses an order that makes no sense before anything runs', async () => {
    await expect(build([STATIC, FOLD], { calibration: refuseToSample })).rejects.toMatchObject({
      code: 'RECIPE_INVALID',
      message: expect.stringContaining('put fold-batch-norm before that one'),
      details: { index: 1 },
    })
  })

  it('gives a fault of the samples a code, and keeps it as the cause', async () => {
    const broken: CalibrationSource = { count: 8, batch: () => Promise.reject(new Error('disk gone')) }
    await expect(build([STATIC], { calibration: broken })).rejects.toMatchObject({
      code: 'PASS_FAILED',
      message: 'pass 1, quantize-static: disk gone',
      cause: expect.objectContaining({ message: 'disk gone' }),
    })
  })

  it('refuses to calibrate on fewer samples than the recipe says', async () => {
    await expect(build([STATIC], { calibration: { ...samples, count: 7 } })).rejects.toMatchObject({
      code: 'DATASET_INVALID',
      details: { samples: 8, available: 7 },
    })
  })

  it('refuses ranges of another model', async () => {
    const foreign: Pass = { ...STATIC, ranges: { image: [0, 1] } }
    await expect(build([foreign])).rejects.toMatchObject({ code: 'RECIPE_INVALID' })
  })

  it('ends with the reason of the signal', async () => {
    const abort = new AbortController()
    const reason = new Error('stopped by the operator')
    const onProgress = ({ calibration }: BuildProgress) => {
      if (calibration?.done === 2) abort.abort(reason)
    }
    await expect(build([FOLD, STATIC], { signal: abort.signal, onProgress })).rejects.toBe(reason)
    await expect(build([FOLD], { signal: abort.signal })).rejects.toBe(reason)
  })
})
