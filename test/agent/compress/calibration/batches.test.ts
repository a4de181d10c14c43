import { EdgefitError } from '@edgefit/shared'
import { floatTensor, int64Tensor, intsValue, intValue, type Model } from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import {
  type CalibrationProgress,
  type CollectInput,
  collectRanges,
} from '../../../../agent/compress/calibration/collect.ts'
import type { CalibrationSource } from '../../../../agent/compress/calibration/run-samples.ts'
import { quantizeStatic } from '../../../../agent/compress/quantize-static/quantize-static.ts'
import type { OpenSession } from '../../../../agent/compress/runtime-port.ts'
import { openSession } from '../../../../agent/measure/ort-session.ts'
import { modelOf, op, randomValues } from '../support/graphs.ts'
import {
  batchOf,
  breastCancer,
  breastCancerModel,
  demoModel,
  fashionMnist,
  hasSharedModels,
  intents,
  keywords,
  pneumonia,
  type Samples,
  sharedModel,
} from '../support/real-models.ts'
import { float32 } from '../support/runtime.ts'

const METHODS = [
  { method: 'minmax' },
  { method: 'moving-average', constant: 0.1 },
  { method: 'percentile', percentile: 99.9 },
  { method: 'entropy' },
  { method: 'mse' },
] as const

/** Rows of `values`, several at once where asked for. */
function rows(dims: readonly number[], values: Float32Array): CalibrationSource {
  const size = dims.reduce((a, b) => a * b, 1)
  return {
    count: values.length / size,
    batchable: true,
    batch: (indices) => {
      const [first = 0] = indices
      return {
        x: float32([indices.length, ...dims], values.slice(first * size, (first + indices.length) * size)),
      }
    },
  }
}

function rowsOf(samples: Samples, count: number): CalibrationSource {
  const batch: CalibrationSource['batch'] = ({ 0: first = 0, length }) => batchOf(samples, first, first + length)
  return { count, batchable: true, batch }
}

/** Counts runs and what leaves the runtime in them. */
function observed(open: OpenSession = openSession) {
  const seen = { runs: 0, largestRunBytes: 0 }
  const counting: OpenSession = async (model, options) => {
    const session = await open(model, options)
    return {
      async run(feeds) {
        const outputs = await session.run(feeds)
        const sizeBytes = Object.values(outputs).reduce((sum, { data }) => sum + data.byteLength, 0)
        seen.runs++
        seen.largestRunBytes = Math.max(seen.largestRunBytes, sizeBytes)
        return outputs
      },
      release: () => session.release(),
    }
  }
  return { seen, openSession: counting }
}

type Collected = Pick<CollectInput, 'model' | 'tensors' | 'source'> & Partial<CollectInput>

async function collected(input: Collected) {
  const { seen, openSession: counting } = observed(input.openSession)
  const ranges = await collectRanges({
    method: { method: 'minmax' },
    samples: input.source.count,
    threads: 1,
    signal: new AbortController().signal,
    ...input,
    openSession: counting,
  })
  return { ranges, ...seen }
}

/** The same input, with samples that may be run at once and with ones that may not. */
async function bothWays(input: Collected) {
  const oneByOne = { count: input.source.count, batch: input.source.batch }
  return { together: await collected(input), alone: await collected({ ...input, source: oneByOne }) }
}

function plainModel(): Model {
  return modelOf({
    inputs: { x: ['n', 64] },
    outputs: ['y'],
    nodes: [op('Mul', 'x two -> a'), op('Relu', 'a -> y')],
    constants: [floatTensor('two', [], Float32Array.of(2))],
  })
}

describe.each<readonly [string, boolean, () => Model, () => Samples]>([
  ['fashion-resnet14', true, () => demoModel('fashion-resnet14'), fashionMnist],
  ['breast-cancer', true, breastCancerModel, () => breastCancer('train')],
  ['DS-CNN', hasSharedModels, () => sharedModel('mlperf_kws_dscnn/model.onnx'), keywords],
  ['pneumonia', hasSharedModels, () => sharedModel('pneumonia_mnist/model.onnx'), () => pneumonia('val')],
  ['clinc150', hasSharedModels, () => sharedModel('clinc150_transformer/model.onnx'), () => intents('val')],
])('on %s,', (_, present, load, samplesOf) => {
  let read: Samples | undefined
  const samples = (): Samples => {
    read ??= samplesOf()
    return read
  }

  it.skipIf(!present).each(METHODS)('$method has the same ranges in batches as one by one', async (method) => {
    const weights = { type: 'int8', perChannel: true, reducedRange: false } as const
    const { prepared, observe } = quantizeStatic(load(), { activations: 'uint8', weights, exclude: [] })
    const source = rowsOf(samples(), 24)
    const { together, alone } = await bothWays({ model: prepared, tensors: observe, source, method })

    // Kernels of other shapes may round the last bits otherwise.
    for (const [tensor, range] of alone.ranges) {
      const span = Math.max(range.max - range.min, 1e-6)
      const found = together.ranges.get(tensor)
      expect(Math.abs((found?.min ?? Number.NaN) - range.min) / span).toBeLessThan(1e-5)
      expect(Math.abs((found?.max ?? Number.NaN) - range.max) / span).toBeLessThan(1e-5)
    }
    expect([...together.ranges.keys()]).toEqual([...alone.ranges.keys()])
    if (method.method === 'moving-average') expect(together.runs).toBe(24)
    else expect(together.runs).toBeLessThan(alone.runs / 2)
  })
})

describe('calibration in batches', () => {
  const values = randomValues(64 * 50, 7)
  const source = rows([64], values)

  it.each<readonly [string, Model]>([
    [
      'takes the mean of all samples',
      modelOf({
        inputs: { x: ['n', 64] },
        outputs: ['y'],
        nodes: [
          op('ReduceMean', 'x -> mean', { axes: intsValue([0]), keepdims: intValue(1) }),
          op('Sub', 'x mean -> y'),
        ],
      }),
    ],
    [
      'has a softmax over samples',
      modelOf({ inputs: { x: ['n', 64] }, outputs: ['y'], nodes: [op('Softmax', 'x -> y', { axis: intValue(0) })] }),
    ],
    [
      'adds up samples',
      modelOf({
        inputs: { x: ['n', 64] },
        outputs: ['y'],
        nodes: [op('CumSum', 'x axis -> y')],
        constants: [int64Tensor('axis', [], [0])],
      }),
    ],
    [
      'takes one sample within',
      modelOf({
        inputs: { x: ['n', 64] },
        outputs: ['y'],
        nodes: [op('Reshape', 'x square -> y')],
        constants: [int64Tensor('square', [2], [8, 8])],
      }),
    ],
    [
      'quantizes dynamically',
      modelOf({
        inputs: { x: ['n', 64] },
        outputs: ['y'],
        nodes: [op('DynamicQuantizeLinear', 'x -> q scale zero'), op('DequantizeLinear', 'q scale zero -> y')],
      }),
    ],
  ])('runs samples one by one where the model %s', async (_, model) => {
    for (const method of [{ method: 'minmax' }, { method: 'entropy' }] as const) {
      const { together, alone } = await bothWays({ model, tensors: ['x', 'y'], source, method })
      expect(together.ranges).toEqual(alone.ranges)
      expect(together.runs).toBeGreaterThanOrEqual(alone.runs)
    }
  })

  it('does so too where the first samples are alike and cannot tell', async () => {
    const mixing = modelOf({
      inputs: { x: ['n', 4] },
      outputs: ['y'],
      nodes: [op('ReduceMax', 'x -> most', { axes: intsValue([0]), keepdims: intValue(1) }), op('Sub', 'x most -> y')],
    })
    const alike = Float32Array.from({ length: 4 * 20 }, (_, at) => (at < 16 ? 1 : at))
    const { together, alone } = await bothWays({ model: mixing, tensors: ['x', 'y'], source: rows([4], alike) })
    expect(together.ranges).toEqual(alone.ranges)
    expect(together.ranges.get('y')).toEqual({ min: 0, max: 0 })
  })

  it('leaves it to one by one once the runtime refuses more', async () => {
    const fewAtOnce: OpenSession = async (bytes, options) => {
      const session = await openSession(bytes, options)
      return {
        run: async (feeds) => {
          if ((feeds['x']?.dims[0] ?? 0) > 8) throw new EdgefitError('too many', { code: 'MODEL_UNSUPPORTED' })
          return await session.run(feeds)
        },
        release: () => session.release(),
      }
    }
    const method = { method: 'percentile', percentile: 99 } as const
    const input = { model: plainModel(), tensors: ['x', 'y'], source, method }
    const { ranges, runs } = await collected({ ...input, openSession: fewAtOnce })
    expect(ranges).toEqual((await collected(input)).ranges)
    expect(runs).toBeGreaterThan(2 * 46)
  })

  it('follows axes that move and lengths that are open', async () => {
    const model = modelOf({
      inputs: { x: ['n', 't', 4] },
      outputs: ['y'],
      nodes: [op('Transpose', 'x -> turned', { perm: intsValue([1, 0, 2]) }), op('Relu', 'turned -> y')],
    })
    for (const length of [1, 5]) {
      const input = {
        model,
        tensors: ['x', 'turned', 'y'],
        source: rows([length, 4], values.slice(0, 4 * length * 40)),
      }
      for (const method of [{ method: 'minmax' }, { method: 'mse' }] as const) {
        const { together, alone } = await bothWays({ ...input, method })
        expect(together.ranges).toEqual(alone.ranges)
        expect(together.runs).toBeLessThan(alone.runs / 2)
      }
    }
  })

  it('holds no more of the tensors in one run than it may, as many samples as there are', async () => {
    const method = { method: 'percentile', percentile: 99 } as const
    const groupBytes = 6 * 2 * 64 * 4
    const input = { model: plainModel(), tensors: ['x', 'y'], method, groupBytes }
    const few = await collected({ ...input, source: { ...source, count: 20 } })
    const many = await collected({ ...input, source })
    expect([few.largestRunBytes, many.largestRunBytes]).toEqual([groupBytes, groupBytes])
    // One by one for the probe, in sixes for the rest and for the histograms.
    expect(many.runs).toBe(4 + 1 + Math.ceil(46 / 6) + Math.ceil(50 / 6))
  })

  it('still names the sample where something is not finite', async () => {
    const bad = values.slice()
    bad[64 * 29 + 5] = Number.NaN
    await expect(
      collected({ model: plainModel(), tensors: ['x', 'y'], source: rows([64], bad) }),
    ).rejects.toMatchObject({ code: 'PASS_FAILED', details: { tensor: 'x', sample: 29 } })
  })

  it('tells how far it is', async () => {
    const seen: CalibrationProgress[] = []
    await collected({
      model: plainModel(),
      tensors: ['x', 'y'],
      source,
      method: { method: 'entropy' },
      onProgress: (progress) => seen.push(progress),
    })
    const shares = seen.map(({ done, total }) => done / total)
    expect(shares).toEqual(shares.toSorted((a, b) => a - b))
    expect(shares.at(-1)).toBe(1)
    expect(seen.findLast(({ stage }) => stage === 'minmax')).toMatchObject({ done: 50, total: 100 })
  })
})
