import { Tensor as RuntimeTensor } from 'onnxruntime-node'
import { describe, expect, it } from 'vitest'
import {
  type Attribute,
  encodeModel,
  floatsValue,
  floatTensor,
  inferShapes,
  int8Tensor,
  int32Tensor,
  int64Tensor,
  intsValue,
  intValue,
  type Model,
  node,
  stringValue,
  type Tensor,
  tensorValue,
  uint8Tensor,
} from '../../../shared/onnx/index.ts'
import { mulberry32, runModel } from './real-models.ts'
import { smallModel } from './small-model.ts'

interface Case {
  readonly op: string
  readonly opset?: number
  /** Float inputs fed by the caller, by dims; a Tensor is an initializer; null is an input left out. */
  readonly inputs: readonly (readonly number[] | Tensor | null)[]
  readonly attributes?: Readonly<Record<string, Attribute>>
  readonly outputs?: number
}

const ints = (...values: number[]): Tensor => int64Tensor('', [values.length], values)
const scalar = (value: number): Tensor => int64Tensor('', [], [value])
const floats = (...values: number[]): Tensor => floatTensor('', [values.length], Float32Array.from(values))
const one = (value: number): Tensor => floatTensor('', [], Float32Array.of(value))

function isTensor(input: Case['inputs'][number]): input is Tensor {
  return input !== null && 'dataType' in input
}

function modelOf({ op, opset = 17, inputs, attributes, outputs = 1 }: Case): Model {
  const names = inputs.map((input, position) => (input === null ? '' : `in${position}`))
  const outputNames = Array.from({ length: outputs }, (_, position) => `out${position}`)
  return {
    irVersion: 8,
    opsetImports: new Map([['', opset]]),
    producerName: '',
    producerVersion: '',
    metadata: new Map(),
    graph: {
      name: op,
      nodes: [node({ opType: op, inputs: names, outputs: outputNames, ...(attributes && { attributes }) })],
      initializers: new Map(
        inputs.flatMap((input, position) => {
          const name = `in${position}`
          return isTensor(input) ? [[name, { ...input, name }] as const] : []
        }),
      ),
      inputs: inputs.flatMap((input, position) =>
        input === null || isTensor(input)
          ? []
          : [{ name: `in${position}`, type: { kind: 'tensor', dataType: 'FLOAT', shape: input } as const }],
      ),
      outputs: outputNames.map((name) => ({ name })),
      valueInfo: new Map(),
    },
  }
}

const RUNTIME_TYPE: Readonly<Record<string, string>> = {
  FLOAT: 'float32',
  INT64: 'int64',
  INT32: 'int32',
  BOOL: 'bool',
  UINT8: 'uint8',
  INT8: 'int8',
}

async function check(test: Case): Promise<void> {
  const model = modelOf(test)
  const feeds = Object.fromEntries(
    test.inputs.flatMap((dims, position) => {
      if (dims === null || isTensor(dims)) return []
      const values = Float32Array.from({ length: dims.reduce((a, b) => a * b, 1) }, (_, index) => (index % 7) - 3)
      return [[`in${position}`, new RuntimeTensor('float32', values, dims)]]
    }),
  )

  const actual = await runModel(encodeModel(model), feeds)
  const { outputs } = inferShapes(model).graph

  const inferred = outputs.map(({ name, type }) => ({
    name,
    type: type?.kind === 'tensor' ? RUNTIME_TYPE[type.dataType] : undefined,
    dims: type?.kind === 'tensor' ? type.shape : undefined,
  }))
  expect(inferred).toEqual(outputs.map(({ name }) => ({ name, type: actual[name]?.type, dims: actual[name]?.dims })))
}

const image = [1, 4, 11, 9]
const kernel3 = { kernel_shape: intsValue([3, 3]) }

const cases: readonly Case[] = [
  {
    op: 'Add',
    inputs: [
      [2, 1, 3],
      [4, 1],
    ],
  },
  { op: 'Equal', inputs: [[2, 3], [3]] },
  { op: 'Where', inputs: [{ name: '', dataType: 'BOOL', dims: [2, 1], data: Uint8Array.of(0, 1) }, [3], [1]] },
  {
    op: 'PRelu',
    inputs: [
      [2, 3, 4],
      [3, 1],
    ],
  },
  { op: 'Clip', inputs: [image, one(0), one(6)] },
  { op: 'Cast', inputs: [[3]], attributes: { to: intValue(7) } },
  { op: 'Max', inputs: [[2, 1], [1, 3], [3]] },
  {
    op: 'MatMul',
    inputs: [
      [3, 2, 5],
      [5, 4],
    ],
  },
  { op: 'MatMul', inputs: [[5], [2, 5, 4]] },
  { op: 'MatMul', inputs: [[2, 3, 5], [5]] },
  {
    op: 'Gemm',
    inputs: [
      [5, 2],
      [4, 5],
    ],
    attributes: { transA: intValue(1), transB: intValue(1) },
  },
  { op: 'BatchNormalization', inputs: [image, [4], [4], [4], [4]] },
  {
    op: 'BatchNormalization',
    inputs: [image, [4], [4], [4], [4]],
    attributes: { training_mode: intValue(1) },
    outputs: 3,
  },
  {
    op: 'LayerNormalization',
    inputs: [
      [2, 3, 4],
      [3, 4],
    ],
    attributes: { axis: intValue(1) },
    outputs: 3,
  },
  { op: 'InstanceNormalization', inputs: [image, [4], [4]] },
  { op: 'Dropout', inputs: [image], outputs: 2 },
  { op: 'Softmax', inputs: [image] },
  { op: 'GlobalAveragePool', inputs: [image] },
  {
    op: 'Conv',
    inputs: [
      [1, 4, 12],
      [6, 2, 3],
    ],
    attributes: { group: intValue(2), strides: intsValue([2]) },
  },
  {
    op: 'ConvTranspose',
    inputs: [image, [4, 3, 3, 3]],
    attributes: { output_shape: intsValue([23, 19]), strides: intsValue([2, 2]) },
  },
  {
    op: 'ConvTranspose',
    inputs: [image, [4, 3, 3, 2]],
    attributes: { auto_pad: stringValue('SAME_UPPER'), strides: intsValue([2, 2]) },
  },
  {
    op: 'MaxPool',
    inputs: [image],
    attributes: { ...kernel3, auto_pad: stringValue('SAME_UPPER'), strides: intsValue([2, 2]) },
    outputs: 2,
  },
  {
    op: 'AveragePool',
    inputs: [image],
    attributes: { ...kernel3, auto_pad: stringValue('SAME_LOWER'), strides: intsValue([3, 2]) },
  },
  {
    op: 'MaxPool',
    inputs: [image],
    attributes: { ...kernel3, auto_pad: stringValue('VALID'), strides: intsValue([2, 2]) },
  },
  { op: 'Reshape', inputs: [[2, 3, 4], ints(0, -1)] },
  { op: 'Reshape', inputs: [[2, 3, 4], ints(4, -1, 3)] },
  { op: 'Reshape', inputs: [[2, 0, 4], ints(0, 0, 4)], attributes: { allowzero: intValue(0) }, opset: 14 },
  { op: 'Flatten', inputs: [image], attributes: { axis: intValue(-2) } },
  { op: 'Flatten', inputs: [image], attributes: { axis: intValue(0) } },
  { op: 'Squeeze', inputs: [[1, 3, 1]] },
  { op: 'Squeeze', inputs: [[1, 3, 1], ints(-1)] },
  { op: 'Squeeze', opset: 11, inputs: [[1, 3, 1]], attributes: { axes: intsValue([0]) } },
  { op: 'Unsqueeze', inputs: [[3, 4], ints(0, -1)] },
  { op: 'Unsqueeze', opset: 11, inputs: [[3, 4]], attributes: { axes: intsValue([1, 3]) } },
  { op: 'Transpose', inputs: [[2, 3, 4]] },
  { op: 'Transpose', inputs: [[2, 3, 4]], attributes: { perm: intsValue([1, 0, 2]) } },
  { op: 'Expand', inputs: [[3, 1], ints(2, 1, 4)] },
  { op: 'Tile', inputs: [[3, 1], ints(2, 4)] },
  { op: 'DepthToSpace', inputs: [[1, 8, 3, 2]], attributes: { blocksize: intValue(2) } },
  { op: 'SpaceToDepth', inputs: [[1, 2, 4, 6]], attributes: { blocksize: intValue(2) } },
  {
    op: 'Concat',
    inputs: [
      [2, 3],
      [2, 1],
      [2, 4],
    ],
    attributes: { axis: intValue(-1) },
  },
  { op: 'Gather', inputs: [[2, 3, 4], int64Tensor('', [2, 2], [0, 1, 1, 0])], attributes: { axis: intValue(1) } },
  { op: 'Gather', inputs: [[2, 3, 4], scalar(-1)], attributes: { axis: intValue(-1) } },
  { op: 'GatherElements', inputs: [[2, 3], int64Tensor('', [2, 2], [0, 1, 1, 0])], attributes: { axis: intValue(1) } },
  { op: 'GatherND', inputs: [[2, 3, 4], int64Tensor('', [2, 1], [0, 1])], attributes: { batch_dims: intValue(1) } },
  {
    op: 'OneHot',
    inputs: [int64Tensor('', [2, 3], [0, 1, 2, 0, 1, 2]), scalar(5), floats(0, 1)],
    attributes: { axis: intValue(1) },
  },
  { op: 'Pad', inputs: [[2, 3], ints(1, 0, 0, 2)] },
  { op: 'Pad', opset: 18, inputs: [[2, 3, 4], ints(1, 2), null, ints(-1)] },
  { op: 'Pad', opset: 9, inputs: [[2, 3]], attributes: { pads: intsValue([0, 1, 1, 0]) } },
  {
    op: 'Slice',
    opset: 9,
    inputs: [[5, 6]],
    attributes: { starts: intsValue([1]), ends: intsValue([-1]), axes: intsValue([1]) },
  },
  { op: 'Slice', inputs: [[5, 6], ints(-1), ints(-100), ints(0), ints(-1)] },
  { op: 'Slice', inputs: [[5, 6], ints(2, 0), ints(2 ** 31, 3)] },
  { op: 'Split', inputs: [[7, 2], ints(3, 4)], outputs: 2 },
  { op: 'Split', inputs: [[6, 2]], outputs: 3 },
  { op: 'Split', opset: 18, inputs: [[7, 2]], attributes: { num_outputs: intValue(3) }, outputs: 3 },
  { op: 'Split', opset: 11, inputs: [[2, 7]], attributes: { axis: intValue(1), split: intsValue([2, 5]) }, outputs: 2 },
  { op: 'ReduceSum', inputs: [[2, 3, 4], ints(-1, 0)] },
  { op: 'ReduceSum', inputs: [[2, 3, 4]], attributes: { noop_with_empty_axes: intValue(1) } },
  { op: 'ReduceMean', inputs: [[2, 3, 4]], attributes: { axes: intsValue([1]), keepdims: intValue(0) } },
  { op: 'ReduceMean', opset: 18, inputs: [[2, 3, 4], ints(1)], attributes: { keepdims: intValue(0) } },
  { op: 'ReduceMax', inputs: [[2, 3, 4]] },
  { op: 'ReduceMin', inputs: [[2, 3, 4]], attributes: { keepdims: intValue(0) } },
  { op: 'ArgMax', inputs: [[2, 3, 4]], attributes: { axis: intValue(-1), keepdims: intValue(0) } },
  { op: 'TopK', inputs: [[2, 5], ints(3)], outputs: 2 },
  { op: 'CumSum', inputs: [[2, 5], scalar(1)] },
  { op: 'Shape', inputs: [[2, 3, 4]], attributes: { start: intValue(1) } },
  { op: 'Size', inputs: [[2, 3, 4]] },
  {
    op: 'ConstantOfShape',
    inputs: [ints(2, 3)],
    attributes: { value: tensorValue(int32Tensor('', [1], Int32Array.of(7))) },
  },
  { op: 'Range', inputs: [scalar(2), scalar(11), scalar(3)] },
  { op: 'Range', inputs: [one(0), one(1), one(0.3)] },
  { op: 'Resize', inputs: [[1, 1, 3, 5], null, floats(1, 1, 2, 1.5)] },
  { op: 'Resize', inputs: [[1, 1, 3, 5], null, null, ints(1, 1, 7, 4)] },
  { op: 'Resize', opset: 18, inputs: [[1, 1, 3, 5], null, floats(2, 3)], attributes: { axes: intsValue([2, 3]) } },
  { op: 'Resize', opset: 10, inputs: [[1, 1, 3, 5], floats(1, 1, 2, 2)] },
  { op: 'QuantizeLinear', inputs: [[2, 3], one(0.1)] },
  { op: 'QuantizeLinear', inputs: [[2, 3], one(0.1), int8Tensor('', [], Int8Array.of(3))] },
  {
    op: 'DequantizeLinear',
    inputs: [uint8Tensor('', [2, 2], Uint8Array.of(1, 2, 3, 4)), one(0.1), uint8Tensor('', [], Uint8Array.of(3))],
  },
  { op: 'DynamicQuantizeLinear', inputs: [[2, 3]], outputs: 3 },
  {
    op: 'MatMulInteger',
    inputs: [uint8Tensor('', [1, 2], Uint8Array.of(1, 2)), int8Tensor('', [2, 2], Int8Array.of(1, 2, 3, 4))],
  },
  {
    op: 'ConvInteger',
    inputs: [uint8Tensor('', [1, 1, 2, 2], Uint8Array.of(1, 2, 3, 4)), uint8Tensor('', [1, 1, 1, 1], Uint8Array.of(1))],
  },
  {
    op: 'LSTM',
    inputs: [
      [7, 2, 3],
      [1, 20, 3],
      [1, 20, 5],
    ],
    attributes: { hidden_size: intValue(5) },
    outputs: 3,
  },
  {
    op: 'GRU',
    inputs: [
      [7, 2, 3],
      [2, 15, 3],
      [2, 15, 5],
    ],
    attributes: { hidden_size: intValue(5), direction: stringValue('bidirectional') },
    outputs: 2,
  },
  { op: 'Trilu', inputs: [[3, 3]] },
  { op: 'Upsample', opset: 9, inputs: [[1, 1, 3, 5], floats(1, 1, 2, 3)] },
  { op: 'HardSigmoid', inputs: [[2]], attributes: {} },
  {
    op: 'Einsum',
    inputs: [
      [2, 3, 4],
      [2, 4, 5],
    ],
    attributes: { equation: stringValue('bij, bjk -> bik') },
  },
  { op: 'Einsum', inputs: [[2, 3, 4]], attributes: { equation: stringValue('abc->cab') } },
  {
    op: 'GridSample',
    opset: 20,
    inputs: [
      [1, 2, 4, 4],
      [1, 3, 5, 2],
    ],
  },
  {
    op: 'RoiAlign',
    inputs: [[1, 2, 8, 8], floatTensor('', [1, 4], Float32Array.of(0, 0, 4, 4)), ints(0)],
    attributes: { output_height: intValue(2), output_width: intValue(3) },
  },
  { op: 'DFT', opset: 20, inputs: [[1, 8, 1], null, scalar(1)] },
  { op: 'Mish', opset: 18, inputs: [[2, 3]] },
  { op: 'Gelu', opset: 20, inputs: [[2, 3]] },
  { op: 'GroupNormalization', opset: 21, inputs: [[1, 4, 3], [4], [4]], attributes: { num_groups: intValue(2) } },
  {
    op: 'AveragePool',
    opset: 19,
    inputs: [[1, 2, 9, 9]],
    attributes: {
      kernel_shape: intsValue([2, 2]),
      dilations: intsValue([2, 3]),
      strides: intsValue([2, 2]),
      pads: intsValue([0, 1, 1, 0]),
      ceil_mode: intValue(1),
    },
  },
  {
    op: 'LpPool',
    opset: 18,
    inputs: [[1, 2, 9, 9]],
    attributes: {
      kernel_shape: intsValue([3, 2]),
      dilations: intsValue([1, 2]),
      ceil_mode: intValue(1),
      strides: intsValue([2, 2]),
    },
  },
  { op: 'ReduceMax', opset: 20, inputs: [[2, 3, 4], ints(0, -1)] },
  { op: 'ReduceMean', opset: 18, inputs: [[2, 3]], attributes: { noop_with_empty_axes: intValue(1) } },
  { op: 'ReduceMean', opset: 18, inputs: [[2, 3]], attributes: { keepdims: intValue(0) } },
  { op: 'Pad', opset: 19, inputs: [[3, 4], ints(1, 0, 0, 2)], attributes: { mode: stringValue('wrap') } },
  { op: 'Reshape', opset: 21, inputs: [[2, 3, 4], ints(0, -1)] },
  { op: 'Shape', opset: 21, inputs: [[2, 3, 4]], attributes: { start: intValue(1), end: intValue(-1) } },
  { op: 'QuantizeLinear', opset: 21, inputs: [[2, 3], one(0.1)], attributes: { output_dtype: intValue(3) } },
  {
    op: 'DequantizeLinear',
    opset: 21,
    inputs: [int8Tensor('', [32, 2], new Int8Array(64)), floatTensor('', [2, 2], Float32Array.of(1, 2, 3, 4))],
    attributes: { axis: intValue(0), block_size: intValue(16) },
  },
  {
    op: 'Resize',
    opset: 19,
    inputs: [[1, 1, 4, 4], null, null, ints(8, 6)],
    attributes: { axes: intsValue([2, 3]), antialias: intValue(1), mode: stringValue('linear') },
  },
  { op: 'Constant', inputs: [], attributes: { value_floats: floatsValue([1, 2]) } },
  { op: 'Constant', inputs: [], attributes: { value_ints: intsValue([1, 2, 3]) } },
]

describe('inferShapes of a damaged model', () => {
  const zeros = int64Tensor('', [0], [])
  it.each([
    ['a pool over a vector', { op: 'MaxPool', inputs: [[5]], attributes: { kernel_shape: intsValue([3]) } }],
    ['a fill with nothing', { op: 'ConstantOfShape', inputs: [ints(2)], attributes: { value: tensorValue(zeros) } }],
    ['a range that never ends', { op: 'Range', inputs: [scalar(0), scalar(5), scalar(0)] }],
    ['a slice of billions', { op: 'Slice', inputs: [[2 ** 40], ints(0), ints(2 ** 40 - 1)] }],
    ['a shape of absurd rank', { op: 'Reshape', inputs: [[2], [2 ** 40]] }],
    ['an axis outside the rank', { op: 'Softmax', inputs: [[2]], attributes: { axis: intValue(9) } }],
    ['a split along no axis', { op: 'Split', inputs: [[2]], attributes: { axis: intValue(3) }, outputs: 2 }],
  ] satisfies [string, Case][])('gets through %s', (_, test) => {
    expect(() => inferShapes(modelOf(test))).not.toThrow()
  })

  it('does not grow a chain of doublings', () => {
    const length = 60
    const nodes = Array.from({ length }, (_, position) =>
      node({
        opType: 'Concat',
        inputs: [`v${position}`, `v${position}`],
        outputs: [`v${position + 1}`],
        attributes: { axis: intValue(0) },
      }),
    )
    const doubled = smallModel(nodes, [`v${length}`], [int64Tensor('v0', [1], [1])])

    expect(() => inferShapes(doubled)).not.toThrow()
  })
})

describe('the inferred output', () => {
  it.each(cases.map((test, position) => [`${test.op} ${position}`, test] as const))(
    'of %s is what the runtime makes',
    async (_, test) => {
      await check(test)
    },
  )

  it('of random windows is what the runtime makes', async () => {
    const random = mulberry32(11)
    const upTo = (most: number): number => 1 + Math.floor(random() * most)
    for (let round = 0; round < 120; round++) {
      const op = (['Conv', 'MaxPool', 'AveragePool', 'ConvTranspose'] as const)[round % 4] ?? 'Conv'
      const kernel = [upTo(4), upTo(4)]
      const isPool = op.endsWith('Pool')
      const pads = Array.from({ length: 4 }, (_, side) => Math.floor(random() * (kernel[side % 2] ?? 1)))
      const dilations = op === 'AveragePool' ? [1, 1] : [upTo(2), upTo(2)]
      await check({
        op,
        inputs: [[1, 2, 7 + upTo(8), 7 + upTo(8)], ...(isPool ? [] : [[2, 2, ...kernel]])],
        attributes: {
          kernel_shape: intsValue(kernel),
          strides: intsValue([upTo(3), upTo(3)]),
          pads: intsValue(pads),
          ...(op === 'AveragePool' ? {} : { dilations: intsValue(dilations) }),
          ...(isPool ? { ceil_mode: intValue(round % 8 < 4 ? 1 : 0) } : {}),
        },
      })
    }
  })

  it('of random slices is what the runtime makes', async () => {
    const random = mulberry32(12)
    const between = (low: number, high: number): number => low + Math.floor(random() * (high - low + 1))
    for (let round = 0; round < 100; round++) {
      const step = between(1, 3) * (round % 2 === 0 ? 1 : -1)
      await check({
        op: 'Slice',
        inputs: [[6, 5], ints(between(-8, 8)), ints(between(-8, 8)), ints(between(-2, 1)), ints(step)],
      })
    }
  })
})
