import { describe, expect, it } from 'vitest'
import {
  decodeModel,
  encodeModel,
  freeInputs,
  inferShapes,
  intsAttribute,
  loadModel,
  type Model,
  node,
} from '../../../shared/onnx/index.ts'
import { create, schemas, serializeModelProto } from '../../../shared/onnx/protobuf.ts'
import { randomFeeds, realModelPath, runModel } from './real-models.ts'
import { add, relu, smallModel, weight } from './small-model.ts'
import { T } from './support/model-bytes.ts'

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
