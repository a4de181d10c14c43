import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Pass } from '@edgefit/shared/model'
import { indexGraph } from '@edgefit/shared/onnx'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { applyQuantizeAware, applyQuantizeWeightsAware } from '../../../../agent/compress/train/apply-quantize-aware.ts'
import { openSession } from '../support/runtime.ts'
import { COUNT, contextOf, feeds, NETWORK } from './support/small-training.ts'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'edgefit-quantize-aware-'))
})
afterAll(() => rm(folder, { recursive: true }))

const TRAINING = { updates: 3, batch: 4, evaluateEvery: 1 }

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
      (samples) => ({ samples, source, openSession, threads: 1, signal: new AbortController().signal }),
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

describe('training for weights of few bits', () => {
  it.each(['from-weights', 'learned'] as const)('with scales %s', async (weightScales) => {
    const pass = Pass.parse({
      pass: 'quantize-weights-aware',
      bits: 4,
      blockSize: 16,
      weightScales,
      training: TRAINING,
    }) as Extract<Pass, { pass: 'quantize-weights-aware' }>
    const scores: number[] = []
    const judge = () => Promise.resolve(scores.push(0.5 + scores.length / 1000) && (scores.at(-1) ?? 0))
    const { model, notes } = await applyQuantizeWeightsAware(
      NETWORK,
      pass,
      contextOf({ scratchPath: join(folder, `weights-${weightScales}`), judge }),
    )
    expect(model.graph.nodes.filter(({ opType }) => opType === 'MatMulNBits')).toHaveLength(1)
    expect(model.graph.nodes.filter(({ opType }) => opType === 'Conv')).toHaveLength(2)
    // The last look was the best; the graph that was trained is judged once more.
    expect(notes.filter((note) => note.includes('points'))).toEqual([
      'the graph that was trained scores 0.10 points more than the model',
    ])
  })
})
