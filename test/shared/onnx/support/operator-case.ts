import { Tensor as RuntimeTensor } from 'onnxruntime-node'
import { expect, it } from 'vitest'
import {
  type Attribute,
  encodeModel,
  floatTensor,
  inferShapes,
  int64Tensor,
  type Model,
  node,
  type Tensor,
} from '../../../../shared/onnx/index.ts'
import { RUNTIME_TYPE, runModel } from '../real-models.ts'

export interface OperatorCase {
  readonly op: string
  readonly opset?: number
  /** Float inputs fed by the caller, by dims; a Tensor is an initializer; null is an input left out. */
  readonly inputs: readonly (readonly number[] | Tensor | null)[]
  readonly attributes?: Readonly<Record<string, Attribute>>
  readonly outputs?: number
}

export const ints = (...values: number[]): Tensor => int64Tensor('', [values.length], values)
export const scalar = (value: number): Tensor => int64Tensor('', [], [value])
export const floats = (...values: number[]): Tensor => floatTensor('', [values.length], Float32Array.from(values))
export const one = (value: number): Tensor => floatTensor('', [], Float32Array.of(value))

/** A test for each case, within a `describe` that names what is compared. */
export function runtimeShapeTests(cases: readonly OperatorCase[]): void {
  it.each(cases.map((test, position) => [`${test.op} ${position}`, test] as const))(
    'of %s is what the runtime makes',
    async (_, test) => {
      await expectRuntimeShape(test)
    },
  )
}

/** Fails unless type and shape of every output are inferred as the runtime makes them. */
export async function expectRuntimeShape(test: OperatorCase): Promise<void> {
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

/** A model of the one node. */
export function modelOf({ op, opset = 17, inputs, attributes, outputs = 1 }: OperatorCase): Model {
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

function isTensor(input: OperatorCase['inputs'][number]): input is Tensor {
  return input !== null && 'dataType' in input
}
