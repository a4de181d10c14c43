import {
  encodeModel,
  floatTensor,
  floatValue,
  int8Tensor,
  int32Tensor,
  int64Tensor,
  intsValue,
  intValue,
  type Model,
  type Node,
  type Tensor,
  uint8Tensor,
} from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import { foldBatchNorm } from '../../../../agent/compress/fold-batch-norm.ts'
import { quantizeDynamic } from '../../../../agent/compress/quantize-dynamic.ts'
import { toFloat16 } from '../../../../agent/compress/to-float16/to-float16.ts'
import { compareKernels } from '../../../../agent/compress/verify/compare.ts'
import { predictKernels } from '../../../../agent/compress/verify/predict.ts'
import { verifyFusion } from '../../../../agent/compress/verify/verify-fusion.ts'
import { quantizeWeightsOnly } from '../../../../agent/compress/weight-only/weight-only.ts'
import { modelOf, op, randomTensor } from '../support/graphs.ts'
import {
  batchOf,
  breastCancerModel,
  demoModel,
  fashionMnist,
  hasSharedModels,
  intents,
  sharedModel,
} from '../support/real-models.ts'
import { executedGraph } from '../support/runtime.ts'
import { quantized } from '../support/static.ts'

const verify = (model: Model) => verifyFusion(model, encodeModel(model), executedGraph)

const scalar = (name: string, value: number) => floatTensor(name, [], Float32Array.of(value))
const SAME = { pads: intsValue([1, 1, 1, 1]) }

/** Scales and zero points: `u` of uint8 from 0 on, `v` another, `i` of int8 around 0, and 16 bits. */
const CONSTANTS: readonly Tensor[] = [
  scalar('su', 0.02),
  uint8Tensor('zu', [], Uint8Array.of(0)),
  scalar('sv', 0.03),
  uint8Tensor('zv', [], Uint8Array.of(7)),
  scalar('si', 0.02),
  int8Tensor('zi', [], Int8Array.of(0)),
  { name: 'zh', dataType: 'INT16', dims: [], data: new Uint8Array(2) },
  int8Tensor(
    'w8',
    [4, 4, 3, 3],
    Int8Array.from({ length: 144 }, (_, at) => (at * 37) % 127),
  ),
  scalar('sw', 0.01),
  int8Tensor('zw', [], Int8Array.of(0)),
  uint8Tensor('wu', [4, 4, 3, 3], new Uint8Array(144).fill(9)),
  int32Tensor('b32', [4], Int32Array.of(1, 2, 3, 4)),
  scalar('sb', 0.0002),
  randomTensor('b', [4], 3),
]

/** Quantizes and dequantizes: `to` comes out. `kind` is the letter of the constants. */
function pair(from: string, to: string, kind: string): readonly Node[] {
  const params = kind === 'h' ? 'su zh' : `s${kind} z${kind}`
  return [op('QuantizeLinear', `${from} ${params} -> ${to}/q`), op('DequantizeLinear', `${to}/q ${params} -> ${to}`)]
}

const WEIGHTS = op('DequantizeLinear', 'w8 sw zw -> w')
const BIAS = op('DequantizeLinear', 'b32 sb -> bias')
const conv = (from: string, to: string, bias = 'bias') => op('Conv', `${from} w ${bias} -> ${to}`, SAME)

function crafted(nodes: readonly Node[], given: { outputs?: readonly string[]; constants?: readonly Tensor[] } = {}) {
  const { outputs = ['y'], constants = [] } = given
  const read = new Set(nodes.flatMap(({ inputs }) => inputs))
  return modelOf({
    opset: 21,
    irVersion: 10,
    inputs: { x: [1, 4, 6, 6] },
    outputs,
    nodes,
    constants: [...CONSTANTS, ...constants].filter(({ name }) => read.has(name)),
  })
}

interface Case {
  readonly nodes: readonly Node[]
  readonly outputs?: readonly string[]
  readonly constants?: readonly Tensor[]
  readonly said: RegExp
}

const MISSES: Readonly<Record<string, Case>> = {
  'a Conv that two operators read': {
    nodes: [...pair('x', 'a', 'u'), WEIGHTS, BIAS, conv('a', 'c'), ...pair('c', 'd', 'u'), op('Add', 'c d -> y')],
    said: /^Conv "Conv:c": runs as \w*Conv in float, not as QLinearConv: 2 operators read "c" \(fan-out\)/,
  },
  'a Conv that the model gives out too': {
    nodes: [...pair('x', 'a', 'u'), WEIGHTS, BIAS, conv('a', 'c'), ...pair('c', 'y', 'u')],
    outputs: ['c', 'y'],
    said: /not as QLinearConv: the model gives out "c"/,
  },
  'symmetric activations after a Relu': {
    nodes: [...pair('x', 'a', 'i'), WEIGHTS, BIAS, conv('a', 'c'), op('Relu', 'c -> r'), ...pair('r', 'y', 'i')],
    said: /after its Relu reaches down to -2\.56, so the Relu cannot be dropped/,
  },
  'a range beyond that of a Clip': {
    nodes: [...pair('x', 'a', 'u'), WEIGHTS, BIAS, conv('a', 'c'), op('Clip', 'c lo hi -> r'), ...pair('r', 'y', 'u')],
    constants: [scalar('lo', 0), scalar('hi', 1)],
    said: /after its Clip reaches up to 5\.1, beyond 1/,
  },
  'a bias that is computed': {
    nodes: [
      ...pair('x', 'a', 'u'),
      WEIGHTS,
      op('ReduceMean', 'x axes -> m', { keepdims: intValue(0) }),
      conv('a', 'c', 'm'),
      ...pair('c', 'y', 'u'),
    ],
    constants: [int64Tensor('axes', [3], [0, 2, 3])],
    said: /its bias "m" is not constant, the integer kernel wants int32/,
  },
  'an output that is not quantized': {
    nodes: [...pair('x', 'a', 'u'), WEIGHTS, BIAS, conv('a', 'y')],
    said: /its output is not quantized/,
  },
  'an activation in float': {
    nodes: [WEIGHTS, BIAS, conv('x', 'c'), ...pair('c', 'y', 'u')],
    said: /its operand "x" comes in float/,
  },
  'activations of 16 bits': {
    nodes: [...pair('x', 'a', 'h'), WEIGHTS, BIAS, conv('a', 'c'), ...pair('c', 'y', 'h')],
    said: /its activations are INT16, the integer kernels are for 8 bits/,
  },
  'an Add with one operand in float': {
    nodes: [...pair('x', 'a', 'u'), op('Add', 'a x -> d'), ...pair('d', 'y', 'u')],
    said: /^Add "Add:d": runs as Add in float, not as QLinearAdd: its operand "x" comes in float/,
  },
  'unequal scales around what only moves values': {
    nodes: [...pair('x', 'a', 'u'), op('Transpose', 'a -> t'), ...pair('t', 'y', 'v')],
    said: /^Transpose "Transpose:t": .* \(0\.02 with zero point 0 and 0\.03 with zero point 7\): they have to be equal/,
  },
  'an operator without an integer kernel': {
    nodes: [...pair('x', 'a', 'u'), op('HardSwish', 'a -> h'), ...pair('h', 'y', 'u')],
    said: /^HardSwish "HardSwish:h": is computed in float between two conversions/,
  },
  'a Gemm with a factor': {
    nodes: [
      op('Flatten', 'x -> f'),
      ...pair('f', 'a', 'u'),
      op('DequantizeLinear', 'g8 sw zw -> g'),
      BIAS,
      op('Gemm', 'a g bias -> y', { beta: floatValue(0.5) }),
    ],
    constants: [int8Tensor('g8', [144, 4], new Int8Array(576).fill(3))],
    said: /^Gemm "Gemm:y": runs .*not as QGemm: the integer kernel knows neither alpha nor beta/,
  },
  'dequantized weights that two products read': {
    nodes: [
      op('DequantizeLinear', 'm8 sm -> m', { axis: intValue(0), block_size: intValue(16) }),
      op('Flatten', 'x -> f'),
      op('MatMul', 'f m -> p'),
      op('MatMul', 'f m -> q'),
      op('Sum', 'p q -> y'),
    ],
    constants: [
      int8Tensor('m8', [144, 4], new Int8Array(576).fill(3)),
      floatTensor('sm', [9, 4], new Float32Array(36).fill(0.1)),
    ],
    said: /^MatMul "MatMul:p", "MatMul:q": runs as MatMul in float, not as MatMulNBits: 2 operators read its dequantized/,
  },
}

describe('the fusion verifier explains', () => {
  it.each(Object.entries(MISSES))('%s', async (_, given) => {
    const notes = await verify(crafted(given.nodes, given))
    expect(notes).toEqual(expect.arrayContaining([expect.stringMatching(given.said)]))
  })

  it('what breaks several rules with all of them', async () => {
    const relu = [conv('a', 'c', 'm'), op('Relu', 'c -> r'), ...pair('r', 'y', 'i')]
    const bias = op('ReduceMean', 'x axes -> m', { keepdims: intValue(0) })
    const constants = [int64Tensor('axes', [3], [0, 2, 3])]
    const notes = await verify(crafted([...pair('x', 'a', 'i'), WEIGHTS, bias, ...relu], { constants }))
    expect(notes.join()).toMatch(/its bias "m" is not constant.*; the quantization after its Relu/)
  })
})

/** As if the runtime had fused nothing. */
function unfused(model: Model) {
  return compareKernels(predictKernels(model), model).misses.map(({ expected, found, causes }) => ({
    expected,
    found,
    causes,
  }))
}

describe('by rule, whatever this runtime makes of it, a miss is put down to', () => {
  it('a bias in float', () => {
    const model = crafted([...pair('x', 'a', 'u'), WEIGHTS, conv('a', 'c', 'b'), ...pair('c', 'y', 'u')])
    expect(unfused(model)).toEqual([
      {
        expected: ['QLinearConv'],
        found: 'Conv',
        causes: ['its bias "b" is in float, the integer kernel wants int32 with the scale of input times weights'],
      },
    ])
  })

  it('signed activations and unsigned weights', () => {
    const weights = op('DequantizeLinear', 'wu sw zu -> w')
    const model = crafted([...pair('x', 'a', 'i'), weights, BIAS, conv('a', 'c'), ...pair('c', 'y', 'i')])
    expect(unfused(model)[0]?.causes).toEqual([
      expect.stringMatching(/^its activations are int8 and its weights uint8/),
    ])
  })

  it('operands of two types', () => {
    const model = crafted([
      ...pair('x', 'a', 'u'),
      ...pair('x', 'c', 'i'),
      op('Add', 'a c -> d'),
      ...pair('d', 'y', 'u'),
    ])
    expect(unfused(model)).toMatchObject([
      { expected: ['QLinearAdd'], found: 'Add', causes: ['its inputs and outputs mix UINT8 and INT8'] },
    ])
  })

  it('weights that are not constant', () => {
    const nodes = [...pair('x', 'a', 'u'), ...pair('x', 'w', 'i'), conv('a', 'c', '_'), ...pair('c', 'y', 'u')]
    expect(unfused(crafted(nodes))[0]?.causes).toEqual(['its weights are not constant'])
  })

  it('nothing where every rule is kept', () => {
    const model = crafted([...pair('x', 'a', 'u'), WEIGHTS, BIAS, conv('a', 'c'), ...pair('c', 'y', 'u')])
    expect(unfused(model)).toMatchObject([{ causes: [] }])
  })

  it('nobody where a kernel gives out the value by another name', () => {
    const model = crafted([...pair('x', 'a', 'u'), WEIGHTS, BIAS, conv('a', 'c'), ...pair('c', 'y', 'u')])
    const executed = crafted([op('QLinearConv', 'x su zu w8 sw zw su zu -> renamed')])
    const { kernels, misses } = compareKernels(predictKernels(model), executed)
    expect([...kernels]).toEqual([['QLinearConv', 1]])
    expect(misses).toEqual([])
  })
})

describe('the fusion verifier', () => {
  it('confirms what the runtime does as intended', async () => {
    const nodes = [...pair('x', 'a', 'u'), WEIGHTS, BIAS, conv('a', 'c'), op('Relu', 'c -> r'), ...pair('r', 'd', 'u')]
    const more = [conv('d', 'e'), ...pair('e', 'g', 'v'), op('Add', 'd g -> s'), ...pair('s', 'y', 'v')]
    expect(await verify(crafted([...nodes, ...more]))).toEqual([
      'the runtime executes as intended: QLinearConv ×2, QLinearAdd',
    ])
  })

  it('says nothing of a model in float, without asking the runtime', async () => {
    const model = modelOf({ inputs: { x: [2] }, outputs: ['y'], nodes: [op('Relu', 'x -> y')] })
    expect(await verifyFusion(model, new Uint8Array(), () => Promise.reject(new Error('not needed')))).toEqual([])
  })

  it('leaves it to others to fail on a model that the runtime refuses', async () => {
    const model = crafted([...pair('x', 'a', 'u'), op('HardSwish', 'a gone -> h'), ...pair('h', 'y', 'u')])
    expect(await verify(model)).toEqual([expect.stringMatching(/^what the runtime executes could not be checked: /)])
  })

  it.each(['uint8', 'int8'] as const)('finds no miss in real networks with %s activations', async (activations) => {
    const images = batchOf(fashionMnist(), 0, 1)
    for (const [name, kernels] of [
      ['fashion-resnet14', 'QLinearConv ×15, QLinearAdd ×6, QLinearGlobalAveragePool, Flatten, QGemm'],
      ['fashion-mobilenetv2', /^QLinearConv ×\d+, /],
    ] as const) {
      const { model } = foldBatchNorm(demoModel(name))
      const notes = await verify((await quantized(model, images, { activations })).model)
      const told = notes.map((note) => note.replace('the runtime executes as intended: ', ''))
      if (activations === 'uint8')
        expect(told).toEqual([typeof kernels === 'string' ? kernels : expect.stringMatching(kernels)])
      // Of int8 values with several readers, x64 makes float.
      else for (const note of told.slice(1)) expect(note).toContain('its activations are int8')
    }
  })

  it('finds no miss in dynamic and weight-only products of a real network', async () => {
    const options = { type: 'int8', perChannel: true, reducedRange: false, exclude: [] } as const
    expect(await verify(quantizeDynamic(breastCancerModel(), options).model)).toEqual([
      expect.stringMatching(/^the runtime executes as intended: DynamicQuantizeMatMul ×\d$/),
    ])
    const network = { ...breastCancerModel(), irVersion: 10, opsetImports: new Map([['', 21]]) }
    const weights = { bits: 4, blockSize: 32, symmetric: true, form: 'dequantize', exclude: [] } as const
    expect(await verify(quantizeWeightsOnly(network, weights).model)).toEqual([
      expect.stringMatching(/^the runtime executes as intended: MatMulNBits ×\d$/),
    ])
  })

  it.skipIf(!hasSharedModels)('finds no miss in a transformer', async () => {
    const { model } = await quantized(sharedModel('clinc150_transformer/model.onnx'), batchOf(intents('val'), 0, 4))
    expect(await verify(model)).toEqual([expect.stringMatching(/^the runtime executes as intended: /)])
  })

  it('counts the conversions that float16 costs where the runtime has no kernels for it', async () => {
    const { model } = toFloat16(demoModel('fashion-resnet14'), { compute: 'float16', keep: [] })
    const notes = await verify(model)
    // Which operators have kernels depends on the CPU: none on x64.
    if (process.arch === 'x64')
      expect(notes).toEqual([expect.stringMatching(/^the runtime adds \d+ conversions .*Conv/)])
  })
})
