import { describe, expect, it } from 'vitest'
import { isEdgefitError } from '../../../shared/errors.ts'
import {
  asFloat32,
  asInt64Numbers,
  DATA_TYPES,
  type DataType,
  decodeModel,
  encodeModel,
  freeInputs,
  graphValue,
  inferShapes,
  int64Tensor,
  intsAttribute,
  intsValue,
  loadModel,
  type Model,
  modelCost,
  node,
  type Tensor,
  tensorValue,
} from '../../../shared/onnx/index.ts'
import { create, dataTypeCode, schemas, serializeModelProto, type TensorProto } from '../../../shared/onnx/protobuf.ts'
import { mulberry32, randomFeeds, realModelPath, runModel } from './real-models.ts'
import { add, relu, smallModel, weight } from './small-model.ts'

type TensorInit = Parameters<typeof create<typeof schemas.tensor>>[1]

function modelBytes(tensor: TensorInit): Uint8Array {
  return serializeModelProto(
    create(schemas.model, {
      irVersion: 8n,
      opsetImport: [{ version: 17n }],
      graph: {
        initializer: [create(schemas.tensor, tensor)],
        node: [{ opType: 'Identity', input: ['t'], output: ['y'] }],
        output: [{ name: 'y' }],
      },
    }),
  )
}

function decodedTensor(tensor: TensorInit): Tensor {
  const decoded = decodeModel(modelBytes({ ...tensor, name: 't' })).graph.initializers.get('t')
  if (decoded === undefined) throw new Error('no tensor')
  return decoded
}

function failure(bytes: Uint8Array, externalData?: ReadonlyMap<string, Uint8Array>): string {
  try {
    decodeModel(bytes, externalData === undefined ? {} : { externalData })
  } catch (error) {
    if (isEdgefitError(error, 'MODEL_INVALID')) return error.message
    throw error
  }
  throw new Error('decoded')
}

const T = Object.fromEntries(DATA_TYPES.map((name) => [name, dataTypeCode(name)])) as Record<DataType, number>

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

describe('decodeModel with external data', () => {
  function external(entries: Readonly<Record<string, string>>): Uint8Array {
    const externalData = Object.entries(entries).map(([key, value]) => ({ key, value }))
    return modelBytes({ name: 't', dataType: T.FLOAT, dims: [1n], dataLocation: 1, externalData })
  }
  const file = Uint8Array.of(9, 9, 9, 9, 0, 0, 128, 63)

  it('reads the span', () => {
    const bytes = external({ location: 'w.bin', offset: '4', length: '4' })

    const model = decodeModel(bytes, { externalData: new Map([['w.bin', file]]) })

    expect([...asFloat32(model.graph.initializers.get('t') as Tensor)]).toEqual([1])
  })

  it.each([
    ['a missing file', { location: 'w.bin' }, undefined, /needs the external data file "w.bin"/],
    ['a span past the end', { location: 'w.bin', offset: '6' }, file, /wants bytes 6 to 10 of "w.bin", which has 8/],
    ['a wrong length', { location: 'w.bin', length: '8' }, file, /has 8 bytes instead of 4/],
    ['an offset that is no number', { location: 'w.bin', offset: '-4' }, file, /offset "-4"/],
    ['no location', {}, file, /keeps its data in ""/],
    ['a parent folder', { location: 'a/../../w.bin' }, file, /not a path inside/],
    ['an absolute path', { location: '/etc/passwd' }, file, /not a path inside/],
    ['a Windows path', { location: 'C:\\w.bin' }, file, /not a path inside/],
  ])('refuses %s', (_, entries, content, message) => {
    const files = content === undefined ? new Map<string, Uint8Array>() : new Map([['w.bin', content]])

    expect(failure(external(entries), files)).toMatch(message)
  })
})

describe('a round trip', () => {
  const roundTrip = (model: Model): Model => decodeModel(encodeModel(model))

  it('keeps all that graph.ts describes', () => {
    const model = smallModel([add('x', 'w', 'm'), relu('m', 'y')], ['y'], [weight('w', 1, 2, 3)])

    expect(roundTrip(model)).toEqual(model)
  })

  it('keeps fields that this code does not know', () => {
    const known = encodeModel(smallModel([relu('x', 'y')], ['y']))
    // Field 1000, wire type 2, "new!".
    const unknown = Uint8Array.of(0xc2, 0x3e, 4, 0x6e, 0x65, 0x77, 0x21)
    const bytes = Uint8Array.from([...known, ...unknown])

    expect(Buffer.from(encodeModel(decodeModel(bytes))).includes(Buffer.from(unknown))).toBe(true)
  })

  it('keeps known fields that graph.ts leaves out, through edits too', () => {
    const bytes = serializeModelProto(
      create(schemas.model, {
        irVersion: 10n,
        opsetImport: [{ version: 17n }, { domain: 'mine', version: 1n }],
        docString: 'doc of model',
        modelVersion: 77n,
        functions: [
          {
            name: 'twice',
            domain: 'mine',
            input: ['a'],
            output: ['b'],
            node: [{ opType: 'Add', input: ['a', 'a'], output: ['b'] }],
          },
        ],
        graph: {
          docString: 'doc of graph',
          node: [
            {
              opType: 'twice',
              domain: 'mine',
              input: ['x'],
              output: ['y'],
              docString: 'doc of node',
              attribute: [{ name: 'k', type: 2, i: 3n, docString: 'doc of attribute' }],
            },
          ],
          input: [
            {
              name: 'x',
              docString: 'doc of x',
              type: {
                denotation: 'IMAGE',
                value: {
                  case: 'tensorType',
                  value: {
                    elemType: T.FLOAT,
                    shape: { dim: [{ value: { case: 'dimParam', value: 'n' }, denotation: 'DATA_BATCH' }] },
                  },
                },
              },
            },
          ],
          output: [
            {
              name: 'y',
              type: {
                value: {
                  case: 'sequenceType',
                  value: { elemType: { value: { case: 'tensorType', value: { elemType: T.FLOAT } } } },
                },
              },
            },
          ],
        },
      }),
    )
    const model = decodeModel(bytes)
    const edited = {
      ...model,
      graph: { ...model.graph, nodes: model.graph.nodes.map((entry) => ({ ...entry, name: 'renamed' })) },
    }

    const text = Buffer.from(encodeModel(edited)).toString('latin1')

    expect(Buffer.compare(encodeModel(model), bytes)).toBe(0)
    for (const kept of [
      'doc of model',
      'doc of graph',
      'doc of node',
      'doc of attribute',
      'doc of x',
      'DATA_BATCH',
      'IMAGE',
      'twice',
      'renamed',
    ]) {
      expect(text).toContain(kept)
    }
  })

  it('keeps attributes exactly: 64 bit integers, bytes that are not UTF-8', () => {
    const bytes = serializeModelProto(
      create(schemas.model, {
        irVersion: 8n,
        opsetImport: [{ version: 17n }],
        graph: {
          node: [
            {
              opType: 'Odd',
              input: ['x'],
              output: ['y'],
              attribute: [
                { name: 'ends', type: 7, ints: [9223372036854775807n, -1n] },
                { name: 'blob', type: 3, s: Uint8Array.of(0xff, 0xfe) },
                { name: 'empty', type: 7 },
              ],
            },
          ],
          input: [{ name: 'x' }],
          output: [{ name: 'y' }],
        },
      }),
    )
    const model = decodeModel(bytes)
    const [odd] = model.graph.nodes

    expect(odd?.attributes.get('blob')?.kind).toBe('OPAQUE')
    expect(odd && intsAttribute(odd, 'ends', undefined)).toEqual([2 ** 63, -1])
    expect(Buffer.compare(encodeModel(model), bytes)).toBe(0)
  })

  it('puts nodes into order', () => {
    const model = smallModel([relu('m', 'y'), add('x', 'x', 'm')], ['y'])

    expect(roundTrip(model).graph.nodes.map((entry) => entry.opType)).toEqual(['Add', 'Relu'])
  })

  it('treats ai.onnx as the default domain', () => {
    const model = {
      ...smallModel([{ ...relu('x', 'y'), domain: 'ai.onnx' }], ['y']),
      opsetImports: new Map([['ai.onnx', 17]]),
    }

    const again = roundTrip(model)

    expect(again.opsetImports).toEqual(new Map([['', 17]]))
    expect(again.graph.nodes[0]?.domain).toBe('')
  })
})

describe('before IR version 4', () => {
  const path = realModelPath('onnx-light/light-shufflenet')

  it('initializers are no inputs in the graph, and are inputs again in the file', () => {
    const model = { ...smallModel([add('x', 'w', 'y')], ['y'], [weight('w', 1, 2, 3)]), irVersion: 3 }

    const again = decodeModel(encodeModel(model))
    const newer = decodeModel(encodeModel({ ...again, irVersion: 8 }))

    expect(again.graph.inputs.map((input) => input.name)).toEqual(['x'])
    expect(Buffer.from(encodeModel(again)).toString('latin1').split('w').length).toBeGreaterThan(
      Buffer.from(encodeModel(newer)).toString('latin1').split('w').length,
    )
  })

  it.skipIf(path === undefined)('an edited model still loads', async () => {
    const model = await loadModel(path ?? '')
    const [output] = model.graph.outputs
    const graph = {
      ...model.graph,
      nodes: [...model.graph.nodes, node({ opType: 'Mul', inputs: [output?.name ?? '', 'two'], outputs: ['doubled'] })],
      initializers: new Map([...model.graph.initializers, ['two', weight('two', 2)]]),
      outputs: [...model.graph.outputs, { name: 'doubled' }],
    }

    const results = await runModel(encodeModel(inferShapes({ ...model, graph })), randomFeeds(model, 1, 1))

    const [single, doubled] = Object.values(results).map((tensor) => tensor.data as Float32Array)
    expect(doubled?.[3]).toBeCloseTo(2 * (single?.[3] ?? Number.NaN))
  })

  it('keeps a default that callers of newer models may override', () => {
    const model = smallModel([add('x', 'w', 'y')], ['y'], [weight('w', 1, 2, 3)])
    const inputs = [
      ...model.graph.inputs,
      { name: 'w', type: { kind: 'tensor', dataType: 'FLOAT', shape: [3] } as const },
    ]
    const again = decodeModel(encodeModel({ ...model, graph: { ...model.graph, inputs } }))

    expect(again.graph.inputs.map((input) => input.name)).toEqual(['x', 'w'])
    expect(freeInputs(again.graph).map((input) => input.name)).toEqual(['x'])
  })
})

it('asInt64Numbers rounds what a number cannot hold', () => {
  const tensor = decodedTensor({ dataType: T.INT64, dims: [2n], int64Data: [9223372036854775807n, -3n] })

  expect(asInt64Numbers(tensor)).toEqual([2 ** 63, -3])
})
