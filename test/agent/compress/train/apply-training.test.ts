import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Pass } from '@edgefit/shared/model'
import { indexGraph, intsValue, type Model } from '@edgefit/shared/onnx'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  applyFineTune,
  applyQuantizeAware,
  type TrainingContext,
  type TrainingPort,
} from '../../../../agent/compress/train/apply-training.ts'
import { modelOf, op, randomTensor, randomValues } from '../support/graphs.ts'
import { openSession } from '../support/runtime.ts'

const COUNT = 8
const signal = new AbortController().signal
let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'edgefit-apply-'))
})
afterAll(() => rm(folder, { recursive: true }))

const pads = intsValue([1, 1, 1, 1])
/** A stem of few inputs, two layers behind it, and a bias that hides behind an Identity. */
const NETWORK: Model = modelOf({
  inputs: { x: ['n', 3, 6, 6] },
  outputs: ['y'],
  nodes: [
    op('Identity', 'bias -> hidden'),
    op('Conv', 'x stem hidden -> a', { pads }),
    op('Relu', 'a -> b'),
    op('Conv', 'b w -> c', { pads }),
    op('Relu', 'c -> d'),
    op('GlobalAveragePool', 'd -> e'),
    op('Flatten', 'e -> f'),
    op('Gemm', 'f g -> y'),
  ],
  constants: [
    randomTensor('stem', [8, 3, 3, 3], 1, 0.3),
    randomTensor('bias', [8], 2, 0.3),
    randomTensor('w', [8, 8, 3, 3], 3, 0.3),
    randomTensor('g', [8, 2], 4),
  ],
})

const feeds = (indices: readonly number[]) => {
  const data = Float32Array.from(indices.flatMap((index) => [...randomValues(108, index + 1)]))
  return Promise.resolve({ x: { type: 'float32', dims: [indices.length, 3, 6, 6], data } as const })
}

function contextOf(port: Partial<TrainingPort> = {}, more: Partial<TrainingContext> = {}): TrainingContext {
  return {
    port: {
      data: {
        count: COUNT,
        hasLabels: true,
        feeds,
        labels: (indices) => Promise.resolve(Float64Array.from(indices, (index) => index % 2)),
      },
      // Weights of later updates count as better.
      judge: (() => {
        let score = 0
        return () => {
          score += 1
          return Promise.resolve(score)
        }
      })(),
      scratchPath: join(folder, 'scratch'),
      dataKey: 'data',
      monotonicNow: () => 0,
      ...port,
    },
    teacher: NETWORK,
    openSession,
    threads: 1,
    onProgress: () => undefined,
    signal,
    ...more,
  }
}

const TRAINING = { updates: 3, batch: 4, evaluateEvery: 1 }
const fineTune = (more = {}) =>
  Pass.parse({ pass: 'fine-tune', ...TRAINING, ...more }) as Extract<Pass, { pass: 'fine-tune' }>

/** Updates that were made, rather than remembered. */
async function updatesOf(pass: ReturnType<typeof fineTune>, given: TrainingContext): Promise<number> {
  let updates = 0
  await applyFineTune(NETWORK, pass, {
    ...given,
    onProgress: () => {
      updates += 1
    },
  })
  return updates
}

describe('fine-tuning', () => {
  it('trains weights that hide behind an Identity', async () => {
    const { model } = await applyFineTune(NETWORK, fineTune(), contextOf({ scratchPath: join(folder, 'hidden') }))
    const index = indexGraph(model.graph)
    const [stem] = model.graph.nodes.filter(({ opType }) => opType === 'Conv')
    expect(index.initializer(stem?.inputs[2] ?? '')?.data).not.toEqual(NETWORK.graph.initializers.get('bias')?.data)
    expect(index.initializer(stem?.inputs[2] ?? '')).toBeDefined()
  })

  it('remembers a run, and none that differs in anything it depends on', async () => {
    const scratchPath = join(folder, 'remembered')
    const context = (port: Partial<TrainingPort> = {}, more: Partial<TrainingContext> = {}) =>
      contextOf({ scratchPath, ...port }, more)
    const { updates } = TRAINING
    const taught = fineTune({ loss: { kind: 'distillation', mixing: 1 } })
    const teacher = { ...NETWORK, producerVersion: 'another' }
    expect(await updatesOf(fineTune(), context())).toBe(updates)
    expect(await updatesOf(fineTune(), context())).toBe(0)
    expect((await readdir(folder)).filter((name) => name.startsWith('remembered'))).toHaveLength(1)
    expect(await updatesOf(fineTune({ seed: 1 }), context())).toBe(updates)
    expect(await updatesOf(fineTune(), context({ dataKey: 'other' }))).toBe(updates)
    expect(await updatesOf(fineTune(), context({}, { threads: 2 }))).toBe(updates)
    // A teacher that is not asked does not matter; one that is does.
    expect(await updatesOf(fineTune(), context({}, { teacher }))).toBe(0)
    expect(await updatesOf(taught, context())).toBe(updates)
    expect(await updatesOf(taught, context())).toBe(0)
    expect(await updatesOf(taught, context({}, { teacher }))).toBe(updates)
  })

  it('is refused without data', async () => {
    await expect(applyFineTune(NETWORK, fineTune(), contextOf({}, { port: undefined }))).rejects.toThrow(
      expect.objectContaining({ code: 'DATASET_INVALID' }),
    )
  })
})

describe('training for quantization', () => {
  it.each([
    [true, 2],
    [false, 3],
  ])('with the first convolution in float: %s', async (floatStem, quantized) => {
    const pass = Pass.parse({
      pass: 'quantize-aware',
      activations: { type: 'uint8' },
      weights: { perChannel: false },
      calibration: { method: 'minmax', samples: COUNT },
      floatStem,
      training: TRAINING,
    }) as Extract<Pass, { pass: 'quantize-aware' }>
    const source = { count: COUNT, batch: feeds }
    const { result, resolved } = await applyQuantizeAware(
      NETWORK,
      pass,
      contextOf({ scratchPath: join(folder, `stem-${floatStem}`) }),
      (samples) => ({ samples, source, openSession, threads: 1, signal }),
      () => undefined,
    )
    const index = indexGraph(result.model.graph)
    const layers = result.model.graph.nodes.filter(({ opType }) => opType === 'Conv' || opType === 'Gemm')
    const inIntegers = layers.filter(({ inputs }) => index.producer(inputs[1] ?? '')?.opType === 'DequantizeLinear')
    expect(layers).toHaveLength(3)
    expect(inIntegers).toHaveLength(quantized)
    expect(resolved.floatStem).toBe(floatStem)
    expect(Object.keys(resolved.ranges ?? {}).includes('x')).toBe(!floatStem)
  })
})
