import { encodeModel, floatTensor, intsValue, type Model, node, tensorValue } from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import { toFloat16 } from '../../../../agent/compress/to-float16/to-float16.ts'
import { modelOf, op, randomTensor, randomValues } from '../support/graphs.ts'
import { batchOf, demoModel, fashionMnist, hasSharedModels, sharedModel } from '../support/real-models.ts'
import { float32, operatorCounts, optimized, relativeError, run } from '../support/runtime.ts'

const SAME = { pads: intsValue([1, 1, 1, 1]) }
const BOTH = ['float32', 'float16'] as const

function network(): Model {
  return modelOf({
    inputs: { x: [1, 4, 8, 8] },
    outputs: ['y', 'r'],
    nodes: [
      op('Conv', 'x w b -> a', SAME),
      op('Relu', 'a -> r'),
      op('Conv', 'r w b -> c', SAME),
      op('Add', 'c r -> d'),
      op('Exp', 'd -> e'),
      op('GlobalAveragePool', 'e -> g'),
      op('Flatten', 'g -> f'),
      op('Gemm', 'f v -> y'),
    ],
    constants: [randomTensor('w', [4, 4, 3, 3], 1, 0.2), randomTensor('b', [4], 2), randomTensor('v', [4, 3], 3)],
  })
}

const feeds = { x: float32([1, 4, 8, 8], randomValues(256, 9)) }

const images = batchOf(fashionMnist(), 0, 32)

describe('float16', () => {
  it.each(BOTH)('computing in %s stays close to float32, with inputs and outputs as they were', async (compute) => {
    const { model } = toFloat16(network(), { compute, keep: [] })
    const [before, after] = [await run(network(), feeds), await run(model, feeds)]
    for (const name of ['y', 'r']) {
      expect(after[name]?.type).toBe('float32')
      expect(relativeError(before[name], after[name])).toBeLessThan(2e-3)
    }
  })

  it('as storage is gone once the runtime has loaded the model', async () => {
    const { model } = toFloat16(network(), { compute: 'float32', keep: [] })
    expect(operatorCounts(model)).toMatchObject({ Cast: 1 })
    expect([...model.graph.initializers.values()].map(({ dataType }) => dataType).sort()).toEqual([
      'FLOAT',
      'FLOAT',
      'FLOAT16',
    ])
    expect(operatorCounts(await optimized(model))).toEqual(operatorCounts(await optimized(network())))
  })

  it('casts at the borders alone, and names what stays in float32', () => {
    const { model, notes } = toFloat16(network(), { compute: 'float16', keep: [] })
    // x in; r and d out; f in and y out.
    expect(operatorCounts(model)).toMatchObject({ Cast: 5, Conv: 2, Exp: 1 })
    expect([...model.graph.initializers.values()].every(({ dataType }) => dataType === 'FLOAT16')).toBe(true)
    expect(notes).toEqual(['Exp "Exp:e": in float32'])
  })

  it.each(BOTH)('keeps what it is told to, computing in %s', async (compute) => {
    const { model, notes } = toFloat16(network(), { compute, keep: ['Conv:c'] })
    expect(model.graph.initializers.get('w')?.dataType).toBe('FLOAT')
    const kept = model.graph.nodes.find(({ name }) => name === 'Conv:c')
    expect(kept?.inputs).toEqual(['r', 'w', 'b'])
    if (compute === 'float16') expect(notes).toContain('Conv "Conv:c": in float32, the recipe keeps it')
    expect(relativeError((await run(network(), feeds))['y'], (await run(model, feeds))['y'])).toBeLessThan(2e-3)
  })

  it('saturates what float16 cannot hold, and says so', async () => {
    const values = randomValues(256, 1)
    values[3] = 1e6
    const model = modelOf({
      inputs: { x: [1, 16] },
      outputs: ['y'],
      nodes: [op('MatMul', 'x w -> y')],
      constants: [floatTensor('w', [16, 16], values)],
    })
    const { model: half, notes } = toFloat16(model, { compute: 'float32', keep: [] })
    expect(notes).toEqual(['"w": 1 values beyond ±65504 became that'])
    const { y } = await run(half, {
      x: float32(
        [1, 16],
        Float32Array.from({ length: 16 }, (_, at) => (at === 0 ? 1 : 0)),
      ),
    })
    expect(y?.data[3]).toBe(65504)
  })

  it('leaves the scales of quantization alone', () => {
    const scales = floatTensor('s', [128], new Float32Array(128).fill(0.1))
    const model = modelOf({
      inputs: { x: [2, 128] },
      outputs: ['y'],
      nodes: [
        node({
          opType: 'Constant',
          inputs: [],
          outputs: ['w'],
          attributes: { value: tensorValue(randomTensor('', [128, 128], 1)) },
        }),
        op('MatMul', 'x w -> m'),
        op('QuantizeLinear', 'm s -> q', { axis: { kind: 'INT', value: 1n } }),
        op('DequantizeLinear', 'q s -> y', { axis: { kind: 'INT', value: 1n } }),
      ],
      constants: [scales],
    })
    const { graph } = toFloat16(model, { compute: 'float16', keep: [] }).model
    expect(graph.initializers.get('s')).toBe(scales)
    expect(graph.initializers.has('w')).toBe(false)
  })

  it('refuses a model without weights, weights that are NaN, and to keep what is not there', () => {
    const bare = modelOf({ inputs: { x: [2] }, outputs: ['y'], nodes: [op('Relu', 'x -> y')] })
    expect(() => toFloat16(bare, { compute: 'float16', keep: [] })).toThrow(
      expect.objectContaining({ code: 'MODEL_UNSUPPORTED' }),
    )
    const broken = modelOf({
      inputs: { x: [1, 1] },
      outputs: ['y'],
      nodes: [op('MatMul', 'x w -> y')],
      constants: [floatTensor('w', [1, 1], Float32Array.of(Number.NaN))],
    })
    expect(() => toFloat16(broken, { compute: 'float16', keep: [] })).toThrow(
      expect.objectContaining({ code: 'MODEL_INVALID' }),
    )
    expect(() => toFloat16(network(), { compute: 'float32', keep: ['head'] })).toThrow(
      expect.objectContaining({ code: 'RECIPE_INVALID' }),
    )
  })

  it.each(BOTH)('of a real network computing in %s is half as large and as good', async (compute) => {
    for (const name of ['fashion-resnet14', 'fashion-mobilenetv2']) {
      const source = demoModel(name)
      const { model } = toFloat16(source, { compute, keep: [] })
      const again = encodeModel(toFloat16(source, { compute, keep: [] }).model)
      expect(Buffer.compare(again, encodeModel(model))).toBe(0)
      expect(encodeModel(model).byteLength).toBeLessThan(encodeModel(source).byteLength * 0.58)
      const [[before], [after]] = [Object.values(await run(source, images)), Object.values(await run(model, images))]
      expect(relativeError(before, after)).toBeLessThan(5e-3)
    }
  })

  it.skipIf(!hasSharedModels).each(BOTH)('passes subgraphs by, computing in %s', async (compute) => {
    const source = sharedModel('silero_vad/silero_vad_16k_op15.onnx')
    const { model } = toFloat16(source, { compute, keep: [] })
    const voice = {
      input: float32([1, 576], randomValues(576, 4, 0.3)),
      state: float32([2, 1, 128], new Float32Array(256)),
      sr: { type: 'int64', dims: [], data: BigInt64Array.of(16000n) } as const,
    }
    const [before, after] = [await run(source, voice), await run(model, voice)]
    expect(relativeError(before['output'], after['output'])).toBeLessThan(0.02)
  })
})
