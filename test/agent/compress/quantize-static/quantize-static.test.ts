import {
  asFloat32,
  asInt8,
  asInt32,
  floatTensor,
  floatValue,
  type Graph,
  intsValue,
  intValue,
  type Model,
  type Node,
  type Tensor,
} from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import { quantizeStatic } from '../../../../agent/compress/quantize-static/quantize-static.ts'
import { modelOf, op, randomTensor, randomValues } from '../support/graphs.ts'
import { float32, operatorCounts, optimized, relativeError, run } from '../support/runtime.ts'
import { quantized, type StaticSettings } from '../support/static.ts'

const SAME = { pads: intsValue([1, 1, 1, 1]) }
const DIMS = [1, 8, 10, 10]
const FEEDS = { x: float32(DIMS, randomValues(800, 9)) }
const OPTIONS = {
  activations: 'uint8',
  weights: { type: 'int8', perChannel: true, reducedRange: false },
  exclude: [],
} as const

function convNet(nodes: readonly Node[], constants: readonly Tensor[] = [], outputs: readonly string[] = ['y']): Model {
  const read = new Set(nodes.flatMap((node) => node.inputs))
  const own = new Set(constants.map(({ name }) => name))
  const usual = [randomTensor('w', [8, 8, 3, 3], 1, 0.3), randomTensor('b', [8], 2, 0.5)]
  return modelOf({
    inputs: { x: DIMS },
    outputs,
    nodes,
    constants: [...constants, ...usual.filter(({ name }) => read.has(name) && !own.has(name))],
  })
}

const conv = (from: string, to: string) => op('Conv', `${from} w b -> ${to}`, SAME)
const plain = () => convNet([conv('x', 'a'), op('Relu', 'a -> r'), conv('r', 'y')])

/** Error of the quantized model as applications run it, relative to the largest output of float. */
async function errorOf(model: Model, settings?: StaticSettings): Promise<number> {
  const { model: result } = await quantized(model, FEEDS, settings)
  return relativeError((await run(model, FEEDS))['y'], (await run(result, FEEDS))['y'])
}

async function executed(model: Model, settings?: StaticSettings) {
  const { model: result, notes } = await quantized(model, FEEDS, settings)
  return { counts: operatorCounts(await optimized(result)), notes }
}

function dequantizedConstants(graph: Graph): readonly Tensor[] {
  return graph.nodes.flatMap((node) => {
    const tensor = graph.initializers.get(node.inputs[0] ?? '')
    return node.opType === 'DequantizeLinear' && tensor !== undefined ? [tensor] : []
  })
}

describe('what static quantization leaves in float', () => {
  it('is what the recipe excludes, whole: the runtime must not quantize its weights on its own', async () => {
    // One large weight: with a single scale for all, as the runtime would choose, the small ones would be lost.
    const values = randomValues(576, 3, 0.01)
    values[0] = 30
    const model = convNet(
      [conv('x', 'a'), op('Relu', 'a -> r'), op('Conv', 'r v -> c', SAME), op('Relu', 'c -> s'), conv('s', 'y')],
      [floatTensor('v', [8, 8, 3, 3], values)],
    )

    const { counts, notes } = await executed(model, { exclude: ['Conv:c'] })

    expect(counts).toMatchObject({ QLinearConv: 2 })
    expect((counts['Conv'] ?? 0) + (counts['FusedConv'] ?? 0)).toBe(1)
    expect(notes[0]).toBe('Conv "Conv:c": in float, the recipe excludes it')
    expect(await errorOf(model, { exclude: ['Conv:c'] })).toBeLessThan(0.02)
  })

  it('is a ConvTranspose, whose weights the runtime must not round either', async () => {
    const model = convNet(
      [conv('x', 'a'), op('ConvTranspose', 'a v -> t'), conv('t', 'y')],
      [randomTensor('v', [8, 8, 2, 2], 3)],
    )

    const { counts, notes } = await executed(model)

    expect(counts).toMatchObject({ QLinearConv: 2, ConvTranspose: 1, QuantizeLinear: 2, DequantizeLinear: 2 })
    expect(notes[0]).toMatch(/^ConvTranspose "ConvTranspose:t": in float, the runtime has no integer kernel/)
  })

  it('is a pool whose integer kernel would count the padding wrongly', async () => {
    const attributes = {
      kernel_shape: intsValue([3, 3]),
      strides: intsValue([2, 2]),
      ceil_mode: intValue(1),
      count_include_pad: intValue(1),
      ...SAME,
    }
    const model = convNet([conv('x', 'a'), op('AveragePool', 'a -> p', attributes), conv('p', 'y')])

    expect((await executed(model)).counts).toMatchObject({ AveragePool: 1, QLinearConv: 2 })
    expect(await errorOf(model)).toBeLessThan(0.05)
  })

  it('is a Clip that excludes zero, and what follows it is still right', async () => {
    const model = convNet(
      [conv('x', 'a'), op('Clip', 'a lo hi -> c'), conv('c', 'y')],
      [floatTensor('lo', [], Float32Array.of(0.1)), floatTensor('hi', [], Float32Array.of(0.5))],
    )
    expect((await executed(model)).counts).toMatchObject({ Clip: 1, QLinearConv: 2 })
    expect(await errorOf(model)).toBeLessThan(0.05)
  })

  it('is a layer whose weights are computed, by name', async () => {
    const model = convNet(
      [conv('x', 'a'), op('Tanh', 'v -> u'), op('Conv', 'a u -> c', SAME), conv('c', 'y')],
      [randomTensor('v', [8, 8, 3, 3], 3, 0.3)],
    )
    const { notes } = await quantized(model, FEEDS)
    expect(notes[0]).toMatch(/^Conv "Conv:c": in float, its weights are not float32 constants/)
    expect(await errorOf(model)).toBeLessThan(0.05)
  })

  it('is a Gemm that scales', async () => {
    const model = modelOf({
      inputs: { x: [2, 8] },
      outputs: ['y'],
      nodes: [op('Gemm', 'x w -> a', { alpha: floatValue(0.5) }), op('Gemm', 'a w -> y')],
      constants: [randomTensor('w', [8, 8], 1)],
    })
    const { model: result, notes } = await quantized(model, { x: float32([2, 8], randomValues(16, 1)) })
    expect(operatorCounts(await optimized(result))).toMatchObject({ Gemm: 1, QGemm: 1 })
    expect(notes[0]).toMatch(/^Gemm "Gemm:a": in float, the integer kernel knows neither alpha/)
  })

  it('is what masks values out by a constant, which would take up the whole range', async () => {
    const mask = floatTensor('mask', [1, 1, 1, 10], new Float32Array(10).fill(Number.NEGATIVE_INFINITY, 5))
    const nodes = [
      conv('x', 'a'),
      op('Add', 'a mask -> m'),
      op('Softmax', 'm -> s'),
      op('Mul', 'a s -> n'),
      conv('n', 'y'),
    ]
    const model = convNet(nodes, [mask])
    const { notes } = await quantized(model, FEEDS)
    expect(notes[0]).toMatch(/^Add "Add:m": in float, its constant masks values out/)
    expect(await errorOf(model)).toBeLessThan(0.05)
  })

  it('is everything around it that would only convert back and forth', async () => {
    const model = convNet(
      [
        op('Exp', 'x -> e'),
        op('Add', 'e one -> f'),
        conv('f', 'a'),
        op('Tanh', 'a -> t'),
        op('Add', 't one -> u'),
        op('Mul', 'u t -> y'),
      ],
      [floatTensor('one', [], Float32Array.of(1))],
    )
    expect((await executed(model)).counts).toEqual({
      Exp: 1,
      Add: 2,
      QuantizeLinear: 1,
      QLinearConv: 1,
      DequantizeLinear: 1,
      Tanh: 1,
      Mul: 1,
    })
  })

  it('is nothing of a first layer’s output that others read as integers', async () => {
    const model = convNet([conv('x', 'a'), op('Relu', 'a -> r'), conv('r', 'c'), op('Add', 'c r -> d'), conv('d', 'y')])
    const { counts } = await executed(model, { exclude: ['Conv:a'] })
    expect(counts).toMatchObject({ QLinearConv: 2, QLinearAdd: 1 })
  })
})

describe('quantized weights and biases', () => {
  it('are int8 with a scale per channel, and int32', async () => {
    const { graph } = (await quantized(plain(), FEEDS)).model
    const types = dequantizedConstants(graph).map(({ dataType, dims }) => `${dataType} ${dims}`)
    expect(types.sort()).toEqual(['INT32 8', 'INT32 8', 'INT8 8,8,3,3'])
    expect([...graph.initializers.values()].filter(({ dims }) => dims.length > 1)).toHaveLength(1)
  })

  it('have one scale when asked, which is coarser', async () => {
    const uneven = randomTensor('w', [8, 8, 3, 3], 1, 0.3)
    const scaled = asFloat32(uneven).map((value, at) => value * 4 ** -Math.floor(at / 72))
    const model = convNet([conv('x', 'a'), op('Relu', 'a -> y')], [floatTensor('w', [8, 8, 3, 3], scaled)])
    const perTensor = { weights: { type: 'int8', perChannel: false, reducedRange: false } } as const
    const { counts } = await executed(model, perTensor)
    expect(counts).toMatchObject({ QLinearConv: 1 })
    expect(await errorOf(model)).toBeLessThan(await errorOf(model, perTensor))
  })

  it('stay within 64 in the reduced range', async () => {
    const settings = { weights: { type: 'int8', perChannel: true, reducedRange: true } } as const
    const { graph } = (await quantized(plain(), FEEDS, settings)).model
    const [weights] = dequantizedConstants(graph).filter(({ dataType }) => dataType === 'INT8')
    expect(Math.max(...Array.from(asInt8(weights!), Math.abs))).toBe(64)
    expect(await errorOf(plain(), settings)).toBeLessThan(0.05)
  })

  it('are refused by name where a bias is not a number', () => {
    const model = convNet(
      [op('Conv', 'x w head.bias -> y')],
      [floatTensor('head.bias', [8], new Float32Array(8).fill(Number.NaN))],
    )
    const ranges = new Map(['x', 'y'].map((name) => [name, { min: -1, max: 1 }]))
    expect(() => quantizeStatic(model, OPTIONS).apply(ranges)).toThrow(
      expect.objectContaining({ code: 'MODEL_INVALID', message: expect.stringContaining('head.bias') }),
    )
  })

  it('keep the bias of dead channels', async () => {
    const weights = randomValues(576, 1, 0.3).fill(0, 0, 72).fill(1e-12, 72, 144)
    const bias = Float32Array.of(3, -5, 0.1, 0.2, 0.3, 0, -0.1, 2)
    const model = convNet([conv('x', 'y')], [floatTensor('w', [8, 8, 3, 3], weights), floatTensor('b', [8], bias)])

    const { graph } = (await quantized(model, FEEDS)).model

    const [quantizedBias] = dequantizedConstants(graph).filter(({ dataType }) => dataType === 'INT32')
    expect(Math.max(...Array.from(asInt32(quantizedBias!), Math.abs))).toBeLessThanOrEqual(2 ** 30 + 128)
    expect(await errorOf(model)).toBeLessThan(0.01)
  })
})

describe('static quantization', () => {
  it('gives whole outputs their names and keeps inputs as they are', async () => {
    const model = plain()
    const { graph } = (await quantized(model, FEEDS)).model
    expect(graph.inputs).toEqual(model.graph.inputs)
    expect(graph.outputs).toEqual(model.graph.outputs)
  })

  it('observes only what it quantizes, the Relu in place of the Conv before it', () => {
    expect(quantizeStatic(plain(), OPTIONS).observe).toEqual(['x', 'r', 'y'])
  })

  it.each([
    ['none', new Map()],
    ['one too few', new Map([['x', { min: -1, max: 1 }]])],
    ['one too many', new Map(['x', 'r', 'y', 'z'].map((name) => [name, { min: -1, max: 1 }]))],
    ['one upside down', new Map(['x', 'r', 'y'].map((name) => [name, { min: 1, max: -1 }]))],
  ])('refuses ranges that are not its own: %s', (_, ranges) => {
    expect(() => quantizeStatic(plain(), OPTIONS).apply(ranges)).toThrow(
      expect.objectContaining({ code: 'RECIPE_INVALID', message: expect.stringContaining('calibrate again') }),
    )
  })

  it('keeps a Relu redundant under ranges that someone wrote by hand', async () => {
    const ranges = new Map(['x', 'r', 'y'].map((name) => [name, { min: -2, max: 3 }]))
    const { model: result } = quantizeStatic(plain(), OPTIONS).apply(ranges)
    expect(operatorCounts(await optimized(result))).toEqual({ QuantizeLinear: 1, QLinearConv: 2, DequantizeLinear: 1 })
  })

  it.each([
    ['has no layers', convNet([op('Relu', 'x -> y')])],
    [
      'has weights of another type',
      convNet(
        [op('Cast', 'x -> h', { to: intValue(10) }), op('Conv', 'h u -> y')],
        [{ name: 'u', dataType: 'FLOAT16', dims: [8, 8, 1, 1], data: new Uint8Array(128) }],
      ),
    ],
  ])('refuses a model that %s', (_, model) => {
    expect(() => quantizeStatic(model, OPTIONS)).toThrow(expect.objectContaining({ code: 'MODEL_UNSUPPORTED' }))
  })

  it('refuses to exclude what is not there, and to exclude everything', () => {
    expect(() => quantizeStatic(plain(), { ...OPTIONS, exclude: ['Conv:a', 'head'] })).toThrow(
      expect.objectContaining({ code: 'RECIPE_INVALID', details: { unknown: ['head'] } }),
    )
    expect(() => quantizeStatic(plain(), { ...OPTIONS, exclude: ['Conv:a', 'Conv:y'] })).toThrow(
      expect.objectContaining({ code: 'MODEL_UNSUPPORTED' }),
    )
  })

  it('keeps node names unique where nodes are called like values', async () => {
    const named = (node: Node): Node => ({ ...node, name: node.outputs[0] ?? '' })
    const model = convNet([conv('x', 'a'), op('Relu', 'a -> r'), conv('r', 'y')].map(named))
    expect((await executed(model)).counts).toMatchObject({ QLinearConv: 2 })
  })

  it('works on nodes without names, which go by their first output', async () => {
    const model = convNet([conv('x', 'a'), conv('a', 'c'), conv('c', 'y')].map((node) => ({ ...node, name: '' })))
    const { counts, notes } = await executed(model, { exclude: ['c'] })
    expect(counts).toMatchObject({ QLinearConv: 2, Conv: 1 })
    expect(notes[0]).toContain('Conv "c"')
  })
})

describe('unsigned weights', () => {
  const unsigned = { weights: { ...OPTIONS.weights, type: 'uint8' } } as const

  it.each([true, false])(
    'give the very outputs of signed ones on integer kernels, per channel: %s',
    async (perChannel) => {
      const settings = { ...unsigned, weights: { ...unsigned.weights, perChannel } }
      const { counts } = await executed(plain(), settings)
      expect(counts).toMatchObject({ QLinearConv: 2 })
      const { model: signed } = await quantized(plain(), FEEDS, { weights: { ...OPTIONS.weights, perChannel } })
      const { model } = await quantized(plain(), FEEDS, settings)
      expect(dequantizedConstants(model.graph).map(({ dataType }) => dataType)).toContain('UINT8')
      expect(relativeError((await run(signed, FEEDS))['y'], (await run(model, FEEDS))['y'])).toBeLessThan(1e-6)
    },
  )

  it('are refused with signed activations, which no kernel takes', () => {
    expect(() => quantizeStatic(plain(), { ...OPTIONS, ...unsigned, activations: 'int8' })).toThrow(
      expect.objectContaining({ code: 'RECIPE_INVALID', message: expect.stringContaining('weights.type') }),
    )
  })
})
