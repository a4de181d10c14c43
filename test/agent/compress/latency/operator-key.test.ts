import { floatTensor, int8Tensor, int64Tensor, intsValue, type Node, type Tensor } from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import type { ValueType } from '../../../../agent/compress/latency/executed-graph.ts'
import { operatorKey } from '../../../../agent/compress/latency/operator-key.ts'
import { modelOf, op, randomTensor } from '../support/graphs.ts'

function keyOf(node: Node, constants: readonly Tensor[], values: Readonly<Record<string, readonly number[]>>): string {
  const types = Object.entries(values).map(([name, dims]): [string, ValueType] => [name, { dataType: 'FLOAT', dims }])
  const model = modelOf({ inputs: {}, outputs: [], nodes: [node], constants })
  return operatorKey({ model, values: new Map(types) }, node)
}

const convolution = (output: string, seed: number, channels = 8) =>
  keyOf(
    op('Conv', `in w -> ${output}`, { pads: intsValue([1, 1, 1, 1]) }),
    [randomTensor('w', [channels, 4, 3, 3], seed)],
    { in: [1, 4, 10, 10], [output]: [1, channels, 10, 10] },
  )

const reshape = (...shape: number[]) =>
  keyOf(op('Reshape', 'in shape -> out'), [int64Tensor('shape', [shape.length], shape)], { in: [1, 8], out: [2, 4] })

const quantize = (zeroPoint: number) =>
  keyOf(
    op('QuantizeLinear', 'in scale zero -> out'),
    [floatTensor('scale', [], Float32Array.of(0.1)), int8Tensor('zero', [], Int8Array.of(zeroPoint))],
    { in: [8], out: [8] },
  )

describe('the key of an operator', () => {
  it('says all that its time depends on', () => {
    expect(convolution('y', 1)).toBe(
      'Conv@17(FLOAT[1,4,10,10], const FLOAT[8,4,3,3]) -> FLOAT[1,8,10,10] {pads=[1,1,1,1]}',
    )
  })

  it('is the same for other weights and other names', () => {
    expect(convolution('z', 2)).toBe(convolution('y', 1))
  })

  it('differs with the number of channels', () => {
    expect(convolution('y', 1, 9)).not.toBe(convolution('y', 1))
  })

  it('holds integers that stand for a shape', () => {
    expect(reshape(2, 4)).not.toBe(reshape(-1, 4))
  })

  it('tells zero points that are zero from others, and no more', () => {
    expect(quantize(3)).toBe(quantize(-7))
    expect(quantize(0)).not.toBe(quantize(3))
  })

  it('tells a value that is read twice from two values', () => {
    const square = keyOf(op('Mul', 'a a -> y'), [], { a: [4], y: [4] })
    const product = keyOf(op('Mul', 'a b -> y'), [], { a: [4], b: [4], y: [4] })

    expect(square).toBe('Mul@17(FLOAT[4], =0) -> FLOAT[4]')
    expect(product).toBe('Mul@17(FLOAT[4], FLOAT[4]) -> FLOAT[4]')
  })

  it('keeps the place of an input that is left out', () => {
    expect(keyOf(op('Clip', 'a _ max -> y'), [floatTensor('max', [], Float32Array.of(6))], { a: [4], y: [4] })).toBe(
      'Clip@17(FLOAT[4], -, const FLOAT[]) -> FLOAT[4]',
    )
  })
})
