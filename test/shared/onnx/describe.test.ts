import { describe, expect, it } from 'vitest'
import { TensorSpec } from '../../../shared/model/index.ts'
import {
  bindDimensions,
  checkModel,
  describeIo,
  graphValue,
  loadModel,
  type Model,
  node,
  operatorHistogram,
  symbolicDimensions,
} from '../../../shared/onnx/index.ts'
import { realModelPath, realModels } from './real-models.ts'
import { add, branchOf, relu, smallModel, weight } from './small-model.ts'

const model = smallModel([add('x', 'w', 'a'), relu('a', 'y')], ['y'], [weight('w', 1, 2, 3)])

describe('describeIo', () => {
  it('lists inputs without those that have an initializer, in the words of the runtime', () => {
    const inputs = [
      ...model.graph.inputs,
      { name: 'w', type: { kind: 'tensor', dataType: 'FLOAT', shape: [3] } as const },
    ]

    expect(describeIo({ ...model, graph: { ...model.graph, inputs } })).toEqual({
      inputs: [{ name: 'x', type: 'float32', dims: ['batch', 3] }],
      outputs: [{ name: 'y', type: 'float32', dims: ['batch', 3] }],
    })
  })

  it('infers outputs whose shape the file does not state', () => {
    const outputs = [{ name: 'y' }]

    expect(describeIo({ ...model, graph: { ...model.graph, outputs } }).outputs).toEqual([
      { name: 'y', type: 'float32', dims: ['batch', 3] },
    ])
  })

  it.each([
    ['sequences', { kind: 'opaque' } as const, /"x" is not a tensor/],
    ['strings', { kind: 'tensor', dataType: 'STRING', shape: [1] } as const, /"x" is of type STRING/],
    ['an unknown rank', { kind: 'tensor', dataType: 'FLOAT' } as const, /"x" does not state its rank/],
  ])('refuses %s', (_, type, message) => {
    const refused = { ...model, graph: { ...model.graph, inputs: [{ name: 'x', type }] } }

    expect(() => describeIo(refused)).toThrow(message)
    expect(() => describeIo(refused)).toThrow(expect.objectContaining({ code: 'MODEL_UNSUPPORTED' }))
  })

  it.each(realModels)('fits the schema of runtime.json for $name', async ({ path }) => {
    const { inputs, outputs } = describeIo(await loadModel(path))

    for (const spec of [...inputs, ...outputs]) expect(TensorSpec.parse(spec)).toEqual(spec)
    expect(inputs.length).toBeGreaterThan(0)
  })
})

describe('checkModel', () => {
  it.each(realModels)('accepts $name', async ({ path }) => {
    checkModel(await loadModel(path))
  })

  const withOpset = (opset: number): Model => ({ ...model, opsetImports: new Map([['', opset]]) })

  it.each([7, 21])('accepts opset %i', (opset) => {
    checkModel(withOpset(opset))
  })

  it.each([
    [6, /opset 6, supported are 7 to 21; export it with opset 13 or higher/],
    [22, /opset 22, supported are 7 to 21; export it with opset 21 or lower/],
  ])('refuses opset %i with the remedy', (opset, message) => {
    expect(() => checkModel(withOpset(opset))).toThrow(message)
    expect(() => checkModel(withOpset(opset))).toThrow(expect.objectContaining({ code: 'MODEL_UNSUPPORTED' }))
  })

  it('refuses a node of a domain that is not imported', () => {
    const foreign = smallModel([{ ...relu('x', 'y'), domain: 'mine' }], ['y'])

    expect(() => checkModel(foreign)).toThrow(/domain "mine", which the model does not import/)
    checkModel({ ...foreign, opsetImports: new Map([...foreign.opsetImports, ['mine', 1]]) })
  })

  it('refuses a model without ai.onnx', () => {
    expect(() => checkModel({ ...model, opsetImports: new Map([['mine', 1]]) })).toThrow(/no opset of ai.onnx/)
  })
})

it('operatorHistogram counts subgraphs too and names domains', () => {
  const choice = node({
    opType: 'If',
    inputs: ['c'],
    outputs: ['y'],
    attributes: { then_branch: graphValue(branchOf('a', 't')), else_branch: graphValue(branchOf('x', 'e')) },
  })
  const counts = operatorHistogram(smallModel([{ ...relu('x', 'a'), domain: 'mine' }, choice], ['y']))

  expect(counts).toEqual(
    new Map([
      ['mine.Relu', 1],
      ['If', 1],
      ['Identity', 2],
    ]),
  )
})

describe('bindDimensions', () => {
  it('fixes the dimension wherever it stands', () => {
    const bound = bindDimensions(model, { batch: 5 })

    expect(describeIo(bound)).toMatchObject({ inputs: [{ dims: [5, 3] }], outputs: [{ dims: [5, 3] }] })
    expect(symbolicDimensions(bound).size).toBe(0)
  })

  it('changes nothing when nothing is bound', () => {
    expect(bindDimensions(model, {})).toBe(model)
  })

  it.each([
    [{ n: 1 }, /no input has a dimension "n"; symbolic dimensions are: "batch"/],
    [{ batch: 0 }, /"batch" cannot be 0/],
    [{ batch: 1.5 }, /"batch" cannot be 1.5/],
  ])('refuses %o', (lengths, message) => {
    expect(() => bindDimensions(model, lengths)).toThrow(message)
    expect(() => bindDimensions(model, lengths)).toThrow(expect.objectContaining({ code: 'INPUT_INVALID' }))
  })

  const path = realModelPath('silero-vad/silero-vad-op18-ifless')
  it.skipIf(path === undefined)('reaches into subgraphs', async () => {
    const bound = bindDimensions(await loadModel(path ?? ''), { batch: 1, sequence: 576 })

    expect(
      JSON.stringify(
        bound.graph.nodes.map((entry) => [...entry.attributes]),
        (_, value: unknown) =>
          typeof value === 'bigint'
            ? Number(value)
            : value instanceof Map
              ? [...value]
              : value instanceof Uint8Array
                ? 0
                : value,
      ),
    ).not.toContain('"batch"')
  })
})
