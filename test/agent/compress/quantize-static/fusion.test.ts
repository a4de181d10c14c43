import {
  floatTensor,
  floatValue,
  int64Tensor,
  intsValue,
  intValue,
  type Node,
  stringValue,
  type Tensor,
} from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import { modelOf, op, randomTensor, randomValues } from '../support/graphs.ts'
import { float32, operatorCounts, optimized, relativeError, run } from '../support/runtime.ts'
import { quantized } from '../support/static.ts'

const SAME = { pads: intsValue([1, 1, 1, 1]) }
const HALF = { kernel_shape: intsValue([2, 2]), strides: intsValue([2, 2]) }
const CHANNELS = { axis: intValue(1) }
const conv = (from: string, to: string) => op('Conv', `${from} w b -> ${to}`, SAME)
const scalar = (name: string, value: number) => floatTensor(name, [], Float32Array.of(value))
const dense = (name: string, dims: readonly number[], seed: number) => randomTensor(name, dims, seed, 0.5)

interface Case {
  readonly dims?: readonly number[]
  readonly outputs?: readonly string[]
  readonly nodes: readonly Node[]
  readonly constants?: readonly Tensor[]
  /** What the runtime executes. */
  readonly fused: Readonly<Record<string, number>>
}

const ENDS = { QuantizeLinear: 1, DequantizeLinear: 1 }

const CASES: Readonly<Record<string, Case>> = {
  'Conv and Relu': {
    nodes: [conv('x', 'a'), op('Relu', 'a -> r'), conv('r', 'y')],
    fused: { ...ENDS, QLinearConv: 2 },
  },
  'a residual block, whose inputs are read twice': {
    nodes: [
      conv('x', 'a'),
      op('Relu', 'a -> r'),
      conv('r', 'c'),
      op('Add', 'c r -> d'),
      op('Relu', 'd -> e'),
      conv('e', 'y'),
    ],
    fused: { ...ENDS, QLinearConv: 3, QLinearAdd: 1 },
  },
  'a depthwise Conv and a Relu6': {
    nodes: [op('Conv', 'x d b -> a', { ...SAME, group: intValue(8) }), op('Clip', 'a lo hi -> c'), conv('c', 'y')],
    constants: [dense('d', [8, 1, 3, 3], 3), scalar('lo', 0), scalar('hi', 0.4)],
    fused: { ...ENDS, QLinearConv: 2 },
  },
  'a Clip to both sides of zero': {
    nodes: [conv('x', 'a'), op('Clip', 'a lo hi -> c'), conv('c', 'y')],
    constants: [scalar('lo', -0.3), scalar('hi', 0.77)],
    fused: { ...ENDS, QLinearConv: 2 },
  },
  'a Conv over one dimension': {
    dims: [1, 8, 20],
    nodes: [op('Conv', 'x v b -> a'), op('Relu', 'a -> r'), op('Conv', 'r v b -> y')],
    constants: [dense('v', [8, 8, 3], 3)],
    fused: { ...ENDS, QLinearConv: 2 },
  },
  'a Concat of values after a Relu': {
    nodes: [
      conv('x', 'a'),
      op('Relu', 'a -> r'),
      conv('x', 'c'),
      op('Relu', 'c -> s'),
      op('Concat', 'r s -> d', CHANNELS),
      op('Conv', 'd v b -> y', SAME),
    ],
    constants: [dense('v', [8, 16, 3, 3], 3)],
    fused: { ...ENDS, QLinearConv: 3, QLinearConcat: 1 },
  },
  'a Concat of a Relu and signed values': {
    nodes: [
      conv('x', 'a'),
      op('Relu', 'a -> r'),
      conv('x', 'c'),
      op('Concat', 'r c -> d', CHANNELS),
      op('Conv', 'd v b -> y', SAME),
    ],
    constants: [dense('v', [8, 16, 3, 3], 3)],
    fused: { ...ENDS, QLinearConv: 3, QLinearConcat: 1 },
  },
  'squeeze and excitation': {
    nodes: [
      conv('x', 'a'),
      op('Relu', 'a -> r'),
      op('GlobalAveragePool', 'r -> g'),
      op('Conv', 'g v -> h'),
      op('Sigmoid', 'h -> s'),
      op('Mul', 'r s -> m'),
      conv('m', 'y'),
    ],
    constants: [dense('v', [8, 8, 1, 1], 3)],
    fused: { ...ENDS, QLinearConv: 3, QLinearGlobalAveragePool: 1, QLinearSigmoid: 1, QLinearMul: 1 },
  },
  'a hard swish in parts, with constants': {
    nodes: [
      conv('x', 'a'),
      op('Add', 'a three -> t'),
      op('Clip', 't lo hi -> c'),
      op('Mul', 'a c -> m'),
      op('Mul', 'm sixth -> n'),
      conv('n', 'y'),
    ],
    constants: [scalar('three', 3), scalar('sixth', 1 / 6), scalar('lo', 0), scalar('hi', 6)],
    fused: { ...ENDS, QLinearConv: 2, QLinearAdd: 1, QLinearMul: 2 },
  },
  'a LeakyRelu': {
    nodes: [conv('x', 'a'), op('LeakyRelu', 'a -> c', { alpha: floatValue(0.1) }), conv('c', 'y')],
    fused: { ...ENDS, QLinearConv: 2, QLinearLeakyRelu: 1 },
  },
  'a Softmax as a gate': {
    nodes: [conv('x', 'a'), op('Softmax', 'a -> s'), op('Mul', 'a s -> m'), conv('m', 'y')],
    fused: { ...ENDS, QLinearConv: 2, QLinearSoftmax: 1, QLinearMul: 1 },
  },
  'both kinds of pool': {
    nodes: [
      conv('x', 'a'),
      op('MaxPool', 'a -> c', HALF),
      conv('c', 'd'),
      op('AveragePool', 'd -> e', HALF),
      conv('e', 'y'),
    ],
    fused: { ...ENDS, QLinearConv: 3, MaxPool: 1, QLinearAveragePool: 1 },
  },
  'an enlargement to the nearest': {
    nodes: [conv('x', 'a'), op('Resize', 'a _ scales -> c', { mode: stringValue('nearest') }), conv('c', 'y')],
    constants: [floatTensor('scales', [4], Float32Array.of(1, 1, 2, 2))],
    fused: { ...ENDS, QLinearConv: 2, Resize: 1 },
  },
  'a Split whose parts go different ways': {
    nodes: [
      conv('x', 'a'),
      op('Split', 'a -> p q', CHANNELS),
      op('Conv', 'p v -> r', SAME),
      op('Add', 'r q -> s'),
      op('Conv', 's v -> y', SAME),
    ],
    constants: [dense('v', [4, 4, 3, 3], 3)],
    fused: { ...ENDS, QLinearConv: 3, Split: 1, QLinearAdd: 1 },
  },
  'a channel shuffle': {
    nodes: [
      conv('x', 'a'),
      op('Reshape', 'a apart -> p'),
      op('Transpose', 'p -> q', { perm: intsValue([0, 2, 1, 3, 4]) }),
      op('Reshape', 'q together -> r'),
      conv('r', 'y'),
    ],
    constants: [int64Tensor('apart', [5], [1, 2, 4, 10, 10]), int64Tensor('together', [4], [1, 8, 10, 10])],
    fused: { ...ENDS, QLinearConv: 2, Reshape: 2, Transpose: 1 },
  },
  'a Slice': {
    nodes: [conv('x', 'a'), op('Slice', 'a from to along -> c'), conv('c', 'y')],
    constants: [int64Tensor('from', [1], [1]), int64Tensor('to', [1], [9]), int64Tensor('along', [1], [2])],
    fused: { ...ENDS, QLinearConv: 2, Slice: 1 },
  },
  'a Where': {
    nodes: [conv('x', 'a'), conv('x', 'c'), op('Where', 'mask a c -> d'), conv('d', 'y')],
    constants: [{ name: 'mask', dataType: 'BOOL', dims: [1, 8, 1, 1], data: Uint8Array.of(1, 0, 1, 0, 1, 0, 1, 0) }],
    fused: { ...ENDS, QLinearConv: 3, QLinearWhere: 1 },
  },
  'a Sum of two, as older exporters write an Add': {
    nodes: [conv('x', 'a'), op('Sum', 'a a -> d'), conv('d', 'y')],
    fused: { ...ENDS, QLinearConv: 2, QLinearAdd: 1 },
  },
  'a Relu that never fires': {
    nodes: [conv('x', 'a'), op('Add', 'a low -> n'), op('Relu', 'n -> r'), conv('r', 'y')],
    constants: [scalar('low', -1000)],
    fused: { ...ENDS, QLinearConv: 2, QLinearAdd: 1 },
  },
  'Gemms and a Relu, biases included': {
    dims: [4, 32],
    nodes: [op('Gemm', 'x w b -> a'), op('Relu', 'a -> r'), op('Gemm', 'r v c -> y')],
    constants: [dense('w', [32, 16], 1), dense('b', [16], 2), dense('v', [16, 8], 3), dense('c', [1, 8], 4)],
    fused: { QuantizeLinear: 1, QGemm: 2 },
  },
  'Gemms with transposed weights': {
    dims: [4, 32],
    nodes: [
      op('Gemm', 'x w b -> a', { transB: intValue(1) }),
      op('Relu', 'a -> r'),
      op('Gemm', 'r v -> y', { transB: intValue(1) }),
    ],
    constants: [dense('w', [16, 32], 1), dense('b', [16], 2), dense('v', [8, 16], 3)],
    fused: { QuantizeLinear: 1, QGemm: 2 },
  },
  'products with bias of two dimensions': {
    dims: [4, 32],
    nodes: [
      op('MatMul', 'x w -> m'),
      op('Add', 'm b -> a'),
      op('Relu', 'a -> r'),
      op('MatMul', 'r v -> n'),
      op('Add', 'c n -> y'),
    ],
    constants: [dense('w', [32, 16], 1), dense('b', [16], 2), dense('v', [16, 8], 3), dense('c', [8], 4)],
    fused: { QuantizeLinear: 1, QGemm: 2 },
  },
  'products with bias of three dimensions': {
    dims: [1, 4, 32],
    nodes: [
      op('MatMul', 'x w -> m'),
      op('Add', 'm b -> a'),
      op('Relu', 'a -> r'),
      op('MatMul', 'r v -> n'),
      op('Add', 'c n -> y'),
    ],
    constants: [dense('w', [32, 16], 1), dense('b', [16], 2), dense('v', [16, 8], 3), dense('c', [8], 4)],
    fused: { QuantizeLinear: 2, MatMulIntegerToFloat: 2, Sum: 2 },
  },
  'products one after the other, and one of two activations': {
    dims: [1, 4, 16],
    nodes: [
      op('MatMul', 'x w -> a'),
      op('Relu', 'a -> r'),
      op('MatMul', 'r w -> q'),
      op('Transpose', 'q -> t', { perm: intsValue([0, 2, 1]) }),
      op('MatMul', 'q t -> s'),
      op('MatMul', 's v -> y'),
    ],
    constants: [dense('w', [16, 16], 1), dense('v', [4, 8], 2)],
    fused: { QuantizeLinear: 1, QLinearMatMul: 3, Transpose: 1, MatMulIntegerToFloat: 1 },
  },
  'values that are outputs as well': {
    outputs: ['a', 'r', 'y'],
    nodes: [conv('x', 'a'), op('Relu', 'a -> r'), conv('r', 'y')],
    fused: { QuantizeLinear: 2, DequantizeLinear: 4, QLinearConv: 2 },
  },
}

function caseModel({ dims = [1, 8, 10, 10], outputs = ['y'], nodes, constants = [] }: Case) {
  const read = new Set(nodes.flatMap((node) => node.inputs))
  const own = new Set(constants.map((tensor) => tensor.name))
  const usual = [dense('w', [8, 8, 3, 3], 1), dense('b', [8], 2)].filter(({ name }) => read.has(name) && !own.has(name))
  const feeds = {
    x: float32(
      dims,
      randomValues(
        dims.reduce((a, b) => a * b, 1),
        9,
      ),
    ),
  }
  return { model: modelOf({ inputs: { x: dims }, outputs, nodes, constants: [...constants, ...usual] }), feeds }
}

describe('statically quantized, the runtime executes in integers', () => {
  for (const [name, given] of Object.entries(CASES)) {
    it.each(['uint8', 'int8'] as const)(`${name} (%s)`, async (activations) => {
      const { model, feeds } = caseModel(given)

      const { model: result } = await quantized(model, feeds, { activations })

      expect(operatorCounts(await optimized(result, { arm: activations === 'int8' }))).toEqual(given.fused)
      const [float, integer, unfused] = [
        await run(model, feeds),
        await run(result, feeds),
        await run(result, feeds, 'disabled'),
      ]
      for (const output of Object.keys(float)) {
        expect(relativeError(float[output], integer[output])).toBeLessThan(0.05)
        // The integer kernels do what the pairs in the file say.
        expect(relativeError(unfused[output], integer[output])).toBeLessThan(1e-5)
      }
    })
  }

  it.each([13, 18, 19, 21, 23, 25])('in opset %d', async (opset) => {
    const { model, feeds } = caseModel(CASES['squeeze and excitation']!)
    const newer = { ...model, irVersion: 10, opsetImports: new Map([['', opset]]) }
    const { model: result } = await quantized(newer, feeds)
    expect(operatorCounts(await optimized(result))).toEqual(CASES['squeeze and excitation']?.fused)
  })

  it('shares one scale between a value and what only moves it', async () => {
    const { model, feeds } = caseModel(CASES['a channel shuffle']!)
    const { graph } = (await quantized(model, feeds)).model
    const scaleOf = (tensor: string) =>
      graph.nodes.find((node) => node.opType === 'DequantizeLinear' && node.outputs.includes(tensor))?.inputs[1]
    expect(['p', 'q', 'r'].map(scaleOf)).toEqual(Array(3).fill(scaleOf('a')))
  })

  it('does not widen the range of a Relu for a Concat with signed values', async () => {
    const { model, feeds } = caseModel(CASES['a Concat of a Relu and signed values']!)
    const { graph } = (await quantized(model, feeds)).model
    const zeroPointOf = (tensor: string) => {
      const pair = graph.nodes.find((node) => node.opType === 'DequantizeLinear' && node.outputs.includes(tensor))
      return graph.initializers.get(pair?.inputs[2] ?? '')?.data[0]
    }
    expect(zeroPointOf('r')).toBe(0)
    expect(zeroPointOf('d')).toBeGreaterThan(0)
  })
})
