import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Pass } from '@edgefit/shared/model'
import { indexGraph } from '@edgefit/shared/onnx'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { applyQuantizeAware } from '../../../../agent/compress/train/apply-quantize-aware.ts'
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
