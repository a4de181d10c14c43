import {
  encodeModel,
  floatTensor,
  graphValue,
  int64Tensor,
  type Model,
  type Node,
  type Tensor,
} from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import type { ExecutedGraph, ValueType } from '../../../../agent/compress/latency/executed-graph.ts'
import { emptyModel, operatorAlone, repeatedOperator } from '../../../../agent/compress/latency/repeated-operator.ts'
import { modelOf, op, randomTensor } from '../support/graphs.ts'
import { openSession } from '../support/runtime.ts'

function executed(nodes: readonly Node[], constants: readonly Tensor[], values: Readonly<Record<string, number[]>>) {
  const types = Object.entries(values).map(([name, dims]): [string, ValueType] => [name, { dataType: 'FLOAT', dims }])
  return { model: modelOf({ inputs: {}, outputs: [], nodes, constants }), values: new Map(types) }
}

const PROBE = { type: 'float32', dims: [1], data: Float32Array.of(7) } as const

async function echoOf(model: Model, feeds: Parameters<Awaited<ReturnType<typeof openSession>>['run']>[0]) {
  const session = await openSession(encodeModel(model), { graphOptimization: 'disabled', threads: 1 })
  try {
    return (await session.run({ probe: PROBE, ...feeds }))['echoed']?.data
  } finally {
    await session.release()
  }
}

const product = op('MatMul', 'a w -> y')
const products: ExecutedGraph = executed([product, op('Relu', 'y -> z')], [randomTensor('w', [4, 3], 1)], {
  a: [2, 4],
  y: [2, 3],
  z: [2, 3],
})

describe('an operator repeated', () => {
  it('reads the same values with constants of its own in every copy', () => {
    const { model, inputs } = repeatedOperator(products, product, 3)

    expect(model.graph.nodes.map(({ opType }) => opType)).toEqual(['MatMul', 'MatMul', 'MatMul', 'Identity'])
    expect([...inputs]).toEqual([
      ['probe', { dataType: 'FLOAT', dims: [1] }],
      ['input0', { dataType: 'FLOAT', dims: [2, 4] }],
    ])
    expect(model.graph.initializers.size).toBe(3)
  })

  it('runs in the runtime', async () => {
    const { model } = repeatedOperator(products, product, 3)

    expect(await echoOf(model, { input0: { type: 'float32', dims: [2, 4], data: new Float32Array(8) } })).toEqual(
      PROBE.data,
    )
  })

  it('is computed although nothing reads it', async () => {
    const pick = op('Gather', 'a at -> y')
    const outside = executed([pick], [int64Tensor('at', [1], [9])], { a: [4], y: [1] })
    const { model } = repeatedOperator(outside, pick, 2)

    await expect(echoOf(model, { input0: { type: 'float32', dims: [4], data: new Float32Array(4) } })).rejects.toThrow(
      /out of data bounds/,
    )
  })

  it('costs nothing without copies', async () => {
    const { model, inputs } = emptyModel(products)

    expect(model.graph.nodes).toHaveLength(1)
    expect([...inputs.keys()]).toEqual(['probe'])
    expect(await echoOf(model, {})).toEqual(PROBE.data)
  })

  it('is refused where it holds a graph, which may read values of the model', () => {
    const { graph } = modelOf({ inputs: {}, outputs: ['b'], nodes: [op('Relu', 'a -> b')] })
    const branch = op('If', 'condition -> y', { then_branch: graphValue(graph), else_branch: graphValue(graph) })

    expect(() => repeatedOperator(executed([branch], [], { condition: [], y: [1] }), branch, 2)).toThrow(
      /If ".*" cannot be timed alone: it holds a graph of its own/,
    )
  })
})

describe('an operator cut out', () => {
  it('keeps what it reads and writes, and nothing of the file it came from', () => {
    const bytes = new Uint8Array(1024)
    const weights: Tensor = { ...floatTensor('w', [1], Float32Array.of(1)), data: bytes.subarray(8, 12) }
    const all = executed([product], [weights, randomTensor('other', [9], 2)], { a: [2, 4], y: [2, 3], z: [2, 3] })

    const { model, values } = operatorAlone(all, product)

    expect([...model.graph.initializers.keys()]).toEqual(['w'])
    expect(model.graph.initializers.get('w')?.data.buffer.byteLength).toBe(4)
    expect([...values.keys()]).toEqual(['a', 'y'])
  })
})
