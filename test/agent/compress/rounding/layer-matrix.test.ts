import { asFloat32, intsValue, intValue, type Node, type Tensor } from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import {
  asMatrix,
  inputReader,
  layerMatrix,
  outputReader,
  placesOf,
} from '../../../../agent/compress/rounding/layer-matrix.ts'
import { modelOf, op, randomTensor, randomValues } from '../support/graphs.ts'
import { float32, run } from '../support/runtime.ts'

interface Case {
  readonly name: string
  readonly node: Node
  readonly input: readonly number[]
  readonly weights: readonly number[]
}

const conv = (attributes: Readonly<Record<string, number | readonly number[]>>): Node =>
  op(
    'Conv',
    'x w -> y',
    Object.fromEntries(
      Object.entries(attributes).map(([name, value]) => [
        name,
        typeof value === 'number' ? intValue(value) : intsValue(value),
      ]),
    ),
  )

const CASES: readonly Case[] = [
  { name: 'a padded convolution', node: conv({ pads: [1, 1, 1, 1] }), input: [2, 3, 5, 4], weights: [4, 3, 3, 3] },
  {
    name: 'strides, dilations and uneven padding',
    node: conv({ strides: [2, 1], dilations: [1, 2], pads: [0, 2, 1, 1] }),
    input: [1, 2, 6, 7],
    weights: [3, 2, 3, 2],
  },
  { name: 'groups', node: conv({ group: 2, pads: [1, 0, 1, 0] }), input: [2, 4, 4, 5], weights: [6, 2, 3, 1] },
  { name: 'a depthwise convolution', node: conv({ group: 3 }), input: [1, 3, 5, 5], weights: [3, 1, 3, 3] },
  { name: 'one spatial axis', node: conv({ strides: [2] }), input: [2, 3, 9], weights: [4, 3, 3] },
  { name: 'a Gemm', node: op('Gemm', 'x w -> y'), input: [3, 5], weights: [5, 4] },
  { name: 'a transposed Gemm', node: op('Gemm', 'x w -> y', { transB: intValue(1) }), input: [3, 5], weights: [4, 5] },
  { name: 'a MatMul of three axes', node: op('MatMul', 'x w -> y'), input: [2, 3, 5], weights: [5, 4] },
]

describe('a layer as products of rows', () => {
  it.each(CASES)('gives what the runtime gives: $name', async ({ node, input, weights: dims }) => {
    const weights: Tensor = randomTensor('w', dims, 1)
    const x = randomValues(
      input.reduce((a, b) => a * b, 1),
      2,
    )
    const model = modelOf({ inputs: { x: input }, outputs: ['y'], nodes: [node], constants: [weights] })
    const { y } = await run(model, { x: float32(input, x) }, 'disabled')
    const matrix = layerMatrix(node, weights)
    if (matrix === undefined || !(y?.data instanceof Float32Array)) throw new Error('no matrix or no output')
    const ordered = asMatrix(matrix, asFloat32(weights))
    const readInput = inputReader(node, matrix, { input, output: y.dims, weights: dims }, x)
    const readOutput = outputReader(node, matrix, y.dims, y.data)
    const { groups, inputs, outputs } = matrix

    expect(placesOf(matrix, y.dims)).toBe(y.data.length / (groups * outputs))
    for (let place = 0; place < placesOf(matrix, y.dims); place++) {
      const expected = new Float32Array(groups * outputs)
      const row = new Float32Array(groups * inputs)
      readOutput(place, expected, 0, outputs)
      readInput(place, row, 0, inputs)
      const actual = new Float32Array(groups * outputs)
      for (const [at, value] of row.entries()) {
        const group = Math.floor(at / inputs)
        for (let output = 0; output < outputs; output++) {
          const weight = ordered[at * outputs + output] ?? 0
          actual[group * outputs + output] = (actual[group * outputs + output] ?? 0) + value * weight
        }
      }
      for (const [at, value] of expected.entries()) expect(actual[at]).toBeCloseTo(value, 4)
    }
  })

  it('is none for stacked matrices', () => {
    expect(layerMatrix(op('MatMul', 'x w -> y'), randomTensor('w', [2, 5, 4], 1))).toBeUndefined()
  })
})
