import {
  type Attribute,
  type DataType,
  floatTensor,
  int8Tensor,
  intsValue,
  intValue,
  type Node,
  type Tensor,
  uint8Tensor,
} from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import { modelOf, op, randomValues } from '../../../support/graphs.ts'
import { float32, run } from '../../../support/runtime.ts'
import { gradientModel } from '../../support/gradient-model.ts'

interface Format {
  readonly dims: readonly number[]
  readonly scales: readonly number[]
  /** Absent: uint8 from 0. */
  readonly zero?: Tensor
  readonly low: number
  readonly high: number
  /** Of the scales; absent where there is one scale for all. */
  readonly axis?: number
  readonly opset?: number
}

const formats: Readonly<Record<string, Format>> = {
  'int8 per tensor': {
    dims: [4, 6],
    scales: [0.01],
    zero: int8Tensor('zero', [], Int8Array.of(0)),
    low: -128,
    high: 127,
  },
  'uint8 from an odd zero point': {
    dims: [4, 6],
    scales: [0.01],
    zero: uint8Tensor('zero', [], Uint8Array.of(93)),
    low: 0,
    high: 255,
  },
  'uint8 without a zero point': { dims: [4, 6], scales: [0.01], low: 0, high: 255 },
  'int8 per output channel of a convolution': {
    dims: [3, 2, 2, 2],
    scales: [0.01, 0.02, 0.04],
    zero: int8Tensor('zero', [3], Int8Array.of(0, 0, 0)),
    low: -128,
    high: 127,
    axis: 0,
  },
  'int8 per column': {
    dims: [4, 3],
    scales: [0.01, 0.02, 0.04],
    zero: int8Tensor('zero', [3], Int8Array.of(0, 0, 0)),
    low: -128,
    high: 127,
    axis: -1,
  },
  'uint8 from several zero points': {
    dims: [4, 2, 3],
    scales: [0.01, 0.02],
    zero: uint8Tensor('zero', [2], Uint8Array.of(0, 200)),
    low: 0,
    high: 255,
    axis: 1,
  },
  'int16 of opset 21': {
    dims: [4, 6],
    scales: [0.00005],
    zero: { name: 'zero', dataType: 'INT16', dims: [], data: new Uint8Array(2) },
    low: -32768,
    high: 32767,
    opset: 21,
  },
  'int4 of opset 21': {
    dims: [4, 6],
    scales: [0.2],
    zero: { name: 'zero', dataType: 'INT4', dims: [], data: new Uint8Array(1) },
    low: -8,
    high: 7,
    opset: 21,
  },
}

const pairNodes = (zero: boolean, attributes: Readonly<Record<string, Attribute>> = {}): readonly Node[] => [
  op('QuantizeLinear', zero ? 'x scale zero -> q' : 'x scale -> q', attributes),
  op('DequantizeLinear', zero ? 'q scale zero -> y' : 'q scale -> y', attributes),
]

describe('a QuantizeLinear and its DequantizeLinear', () => {
  it.each(Object.entries(formats))('%s', async (_, { dims, scales, zero, low, high, axis, opset = 17 }) => {
    const count = dims.reduce((product, length) => product * length, 1)
    const [x, g] = [randomValues(count, 1, 2), randomValues(count, 2)]
    const model = modelOf({
      inputs: { x: dims, scale: axis === undefined ? [] : [scales.length] },
      outputs: ['y'],
      nodes: pairNodes(zero !== undefined, axis === undefined ? {} : { axis: intValue(axis) }),
      constants: zero === undefined ? [] : [zero],
      opset,
      irVersion: 10,
    })
    const { model: derived, gradients, missing } = gradientModel(model, { seeds: ['y'], targets: ['x', 'scale'] })
    expect(missing.size).toBe(0)
    const outputs = await run(derived, {
      x: float32(dims, x),
      scale: float32(axis === undefined ? [] : [scales.length], Float32Array.from(scales)),
      'seed/y': float32(dims, g),
    })

    const byX = new Float32Array(count)
    const byScale = scales.map(() => 0)
    const inner =
      axis === undefined
        ? count
        : dims
            .slice(axis)
            .slice(1)
            .reduce((product, length) => product * length, 1)
    let clipped = 0
    for (const [at, value] of x.entries()) {
      const channel = axis === undefined ? 0 : Math.floor(at / inner) % scales.length
      const zeroPoint = ['UINT8', 'INT8'].includes(zero?.dataType ?? '')
        ? (zero?.data[zero.dims.length && channel] ?? 0)
        : 0
      const steps = value / Math.fround(scales[channel] ?? 1)
      const integer = Math.round(steps) + zeroPoint
      const isInside = integer >= low && integer <= high
      if (!isInside) clipped += 1
      const held = Math.min(Math.max(integer, low), high)
      byX[at] = (g[at] ?? 0) * Number(isInside)
      byScale[channel] = (byScale[channel] ?? 0) + (g[at] ?? 0) * (held - zeroPoint - (isInside ? steps : 0))
    }
    expect(clipped, 'elements beyond the range').toBeGreaterThan(0)
    expect(clipped, 'elements beyond the range').toBeLessThan(count)
    expect(outputs[gradients.get('x') ?? '']?.data).toEqual(byX)
    const found = outputs[gradients.get('scale') ?? '']
    expect(found?.dims).toEqual(axis === undefined ? [] : [scales.length])
    for (const [channel, expected] of byScale.entries()) {
      expect(Number(found?.data[channel])).toBeCloseTo(expected, high > 255 ? 0 : 3)
    }
  })

  it('pass the largest weight, whose scale makes it the largest integer but for rounding', async () => {
    const weights = Float32Array.from({ length: 200 }, (_, at) => (at + 1) * 0.0137)
    const nodes = pairNodes(true, { axis: intValue(0) })
    const scales = weights.map((weight) => Math.fround(weight / 127))
    const model = modelOf({
      inputs: { x: [200, 1], scale: [200] },
      outputs: ['y'],
      nodes,
      constants: [int8Tensor('zero', [200], new Int8Array(200))],
    })
    const { model: derived, gradients } = gradientModel(model, { seeds: ['y'], targets: ['x'] })
    const ones = new Float32Array(200).fill(1)
    const outputs = await run(derived, {
      x: float32([200, 1], weights),
      scale: float32([200], scales),
      'seed/y': float32([200, 1], ones),
    })
    expect(outputs[gradients.get('x') ?? '']?.data).toEqual(ones)
  })
})

describe('quantization is refused', () => {
  const scale = (name: string, value: number) => floatTensor(name, [], Float32Array.of(value))
  const refused = (nodes: readonly Node[]): readonly string[] => {
    const constants = [scale('scale', 1), scale('other', 2), int8Tensor('zero', [], new Int8Array(1))]
    const model = modelOf({ inputs: { x: [2, 3] }, outputs: ['y'], nodes, constants })
    return gradientModel(model, { seeds: ['y'], targets: ['x'] }).frozen.map(({ node }) => node.opType)
  }

  it('where the two do not undo each other', () => {
    const nodes = [op('QuantizeLinear', 'x scale zero -> q'), op('DequantizeLinear', 'q other zero -> y')]
    expect(refused(nodes)).toEqual(['DequantizeLinear'])
  })

  it('where something stands between the two', () => {
    const nodes = [
      op('QuantizeLinear', 'x scale zero -> q'),
      op('Transpose', 'q -> t', { perm: intsValue([1, 0]) }),
      op('DequantizeLinear', 't scale zero -> y'),
    ]
    expect(refused(nodes)).toEqual(['DequantizeLinear'])
  })

  it('where it is dynamic', () => {
    const nodes = [op('DynamicQuantizeLinear', 'x -> q s z'), op('DequantizeLinear', 'q s z -> y')]
    expect(refused(nodes)).toHaveLength(1)
  })

  it('of a type that has no integers', () => {
    const dataType: DataType = 'FLOAT8E4M3FN'
    const model = modelOf({
      inputs: { x: [2, 3] },
      outputs: ['y'],
      nodes: pairNodes(true),
      constants: [scale('scale', 1), { name: 'zero', dataType, dims: [], data: new Uint8Array(1) }],
      opset: 19,
    })
    const { frozen } = gradientModel(model, { seeds: ['y'], targets: ['x'] })
    expect(frozen.map(({ reason }) => reason)).toEqual([`it quantizes to ${dataType}`])
  })
})
