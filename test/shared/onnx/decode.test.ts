import { describe, expect, it } from 'vitest'
import { isEdgefitError } from '../../../shared/errors.ts'
import {
  asFloat32,
  decodeModel,
  encodeModel,
  graphValue,
  int64Tensor,
  intsValue,
  type Model,
  modelCost,
  node,
  type Tensor,
  tensorValue,
} from '../../../shared/onnx/index.ts'
import { create, schemas, serializeModelProto, type TensorProto } from '../../../shared/onnx/protobuf.ts'
import { mulberry32 } from './real-models.ts'
import { add, relu, smallModel, weight } from './small-model.ts'
import { decodedTensor, failure, modelBytes, T } from './support/model-bytes.ts'

describe('decodeModel makes raw little-endian bytes', () => {
  it.each([
    ['floatData', { dataType: T.FLOAT, dims: [2n], floatData: [1, -2] }, [0, 0, 128, 63, 0, 0, 0, 192]],
    ['int8 in int32Data', { dataType: T.INT8, dims: [3n], int32Data: [-1, 0, 127] }, [255, 0, 127]],
    ['uint8 in int32Data', { dataType: T.UINT8, dims: [2n], int32Data: [200, 1] }, [200, 1]],
    ['bool in int32Data', { dataType: T.BOOL, dims: [2n], int32Data: [1, 0] }, [1, 0]],
    ['int16 in int32Data', { dataType: T.INT16, dims: [1n], int32Data: [-2] }, [254, 255]],
    ['float16 in int32Data', { dataType: T.FLOAT16, dims: [1n], int32Data: [0x3c00] }, [0, 0x3c]],
    ['bfloat16 in int32Data', { dataType: T.BFLOAT16, dims: [1n], int32Data: [0x3f80] }, [0x80, 0x3f]],
    ['int4, two to a byte', { dataType: T.INT4, dims: [3n], int32Data: [0x21, 0x0f] }, [0x21, 0x0f]],
    ['int32Data', { dataType: T.INT32, dims: [], int32Data: [-2] }, [254, 255, 255, 255]],
    ['int64Data', { dataType: T.INT64, dims: [1n], int64Data: [-1n] }, new Array(8).fill(255)],
    ['uint32 in uint64Data', { dataType: T.UINT32, dims: [1n], uint64Data: [4294967295n] }, [255, 255, 255, 255]],
    ['uint64Data', { dataType: T.UINT64, dims: [1n], uint64Data: [258n] }, [2, 1, 0, 0, 0, 0, 0, 0]],
    ['doubleData', { dataType: T.DOUBLE, dims: [1n], doubleData: [1] }, [0, 0, 0, 0, 0, 0, 240, 63]],
    ['rawData', { dataType: T.UINT8, dims: [2n, 1n], rawData: Uint8Array.of(4, 5) }, [4, 5]],
    ['no elements', { dataType: T.FLOAT, dims: [0n, 3n] }, []],
  ] as const)('from %s', (_, tensor, bytes) => {
    const init = { ...tensor, dims: [...tensor.dims] } as unknown as TensorProto
    expect([...decodedTensor(init).data]).toEqual([...bytes])
  })

  it('but keeps strings as they are', () => {
    const tensor = decodedTensor({ dataType: T.STRING, dims: [2n], stringData: [Uint8Array.of(255), Uint8Array.of()] })

    expect(tensor.strings?.map((text) => [...text])).toEqual([[255], []])
  })

  it('without copying, at whatever alignment', () => {
    const model = smallModel([add('x', 'w', 'y')], ['y'], [weight('w', 1, 2, 3)])
    const plain = encodeModel(model)
    const shifted = new Uint8Array(plain.byteLength + 8)

    for (let shift = 0; shift < 8; shift++) {
      shifted.set(plain, shift)
      const bytes = shifted.subarray(shift, shift + plain.byteLength)
      const tensor = decodeModel(bytes).graph.initializers.get('w') as Tensor
      expect(tensor.data.buffer).toBe(bytes.buffer)
      expect([...asFloat32(tensor)]).toEqual([1, 2, 3])
    }
  })
})

describe('decodeModel refuses', () => {
  it.each([
    ['nothing', new Uint8Array()],
    ['text', new TextEncoder().encode('this is not a model at all')],
    ['a zip file', Uint8Array.of(0x50, 0x4b, 3, 4, 20, 0, 0, 0, 8, 0)],
    ['zeros', new Uint8Array(64)],
  ])('%s', (_, bytes) => {
    expect(failure(bytes)).toMatch(/not an ONNX model/)
  })

  it('a file cut off anywhere', () => {
    // Without metadata the file ends with opset_import, which no model may lack.
    const whole = encodeModel({
      ...smallModel([add('x', 'w', 'y')], ['y'], [weight('w', 1, 2, 3)]),
      metadata: new Map(),
    })

    for (let length = 0; length < whole.byteLength; length++) failure(whole.subarray(0, length))
    expect(() => decodeModel(whole)).not.toThrow()
  })

  it.each([
    [
      'elements that do not fill the dims',
      { dataType: T.FLOAT, dims: [3n], floatData: [1] },
      /"t" of FLOAT \[3\] has 4 bytes instead of 12/,
    ],
    ['missing elements', { dataType: T.FLOAT, dims: [3n] }, /has 0 bytes instead of 12/],
    ['missing strings', { dataType: T.STRING, dims: [2n] }, /has 0 strings instead of 2/],
    ['negative dims', { dataType: T.FLOAT, dims: [-1n] }, /dims \[-1\]/],
    ['an unknown data type', { dataType: 99, dims: [] }, /data type 99/],
  ])('%s', (_, tensor, message) => {
    expect(failure(modelBytes({ ...tensor, name: 't' }))).toMatch(message)
  })

  it.each([
    ['a value that nothing makes', [relu('ghost', 'y')], /reads "ghost"/],
    ['a value made twice', [relu('x', 'y'), relu('y', 'x')], /"x" is made twice/],
    [
      'a circle, naming its nodes',
      [add('x', 'b', 'a'), relu('a', 'b'), relu('b', 'y')],
      /circle: .*"a".*"b"|circle: .*"b".*"a"/,
    ],
  ])('%s', (_, nodes, message) => {
    expect(failure(encodeModel(smallModel(nodes, ['y'])))).toMatch(message)
  })

  it('the same faults inside branches and attributes', () => {
    const inBranch = (inner: Model): string => {
      const attributes = { then_branch: graphValue(inner.graph), else_branch: graphValue(inner.graph) }
      const choice = node({ opType: 'If', inputs: ['x'], outputs: ['y'], attributes })
      return failure(encodeModel(smallModel([choice], ['y'])))
    }
    const named = (model: Model): Model => ({ ...model, graph: { ...model.graph, inputs: [] } })
    expect(inBranch(named(smallModel([relu('ghost', 'b')], ['b'])))).toMatch(/reads "ghost"/)
    expect(inBranch(named(smallModel([relu('b', 'a'), relu('a', 'b')], ['b'])))).toMatch(/circle/)
    expect(inBranch(named(smallModel([relu('x', 'b')], ['c'])))).toMatch(/outputs "c"/)

    const short = { ...weight('w', 1, 2, 3), dims: [4] }
    expect(inBranch(named(smallModel([add('x', 'w', 'b')], ['b'], [short])))).toMatch(/"w" of FLOAT \[4\]/)
    const constant = node({ opType: 'Constant', inputs: [], outputs: ['y'], attributes: { value: tensorValue(short) } })
    expect(failure(encodeModel(smallModel([constant], ['y'])))).toMatch(/"w" of FLOAT \[4\] has 12 bytes instead of 16/)
  })

  it('outputs that nothing makes, and none at all', () => {
    expect(failure(encodeModel(smallModel([relu('x', 'y')], ['z'])))).toMatch(/outputs "z"/)
    expect(failure(encodeModel(smallModel([relu('x', 'y')], [])))).toMatch(/no outputs/)
  })

  it('damaged files with a typed error, and works on what it accepts', () => {
    const conv = node({ opType: 'Conv', inputs: ['x', 'w'], outputs: ['a'], attributes: { strides: intsValue([1]) } })
    const slice = node({ opType: 'Slice', inputs: ['a', 'i', 'i'], outputs: ['y'] })
    const weights = [{ ...weight('w', 1, 2, 3), dims: [1, 3, 1] }, int64Tensor('i', [1], [1])]
    const whole = encodeModel(smallModel([conv, slice], ['y'], weights))
    const random = mulberry32(31)
    let accepted = 0
    for (let round = 0; round < 4000; round++) {
      const damaged = Uint8Array.from(whole)
      for (let flips = 0; flips < 1 + (round % 3); flips++) {
        damaged[Math.floor(random() * damaged.length)] = Math.floor(random() * 256)
      }
      try {
        const model = decodeModel(damaged)
        modelCost(model)
        decodeModel(encodeModel(model))
        accepted++
      } catch (error) {
        if (!isEdgefitError(error)) throw error
      }
    }
    expect(accepted).toBeGreaterThan(0)
    expect(accepted).toBeLessThan(4000)
  })

  it('sparse and segmented initializers as unsupported', () => {
    const tensor = { name: 't', dataType: T.FLOAT, dims: [1n], floatData: [1] }
    const segmented = modelBytes({ ...tensor, segment: { begin: 0n, end: 1n } })
    const sparse = serializeModelProto(
      create(schemas.model, {
        irVersion: 8n,
        opsetImport: [{ version: 17n }],
        graph: { sparseInitializer: [{ values: tensor, dims: [9n] }], output: [{ name: 't' }] },
      }),
    )

    for (const bytes of [segmented, sparse]) {
      expect(() => decodeModel(bytes)).toThrow(expect.objectContaining({ code: 'MODEL_UNSUPPORTED' }))
    }
  })
})
