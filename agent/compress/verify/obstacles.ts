import { asFloat32, floatAttribute, type Node } from '@edgefit/shared/onnx'
import { type Affine, type Destination, type QuantizedGraph, realRange, sameAffine } from './quantized-graph.ts'

// Each function says in words why onnxruntime does not fuse an operator, by the rules of its QDQ selectors
// (`qdq_selectors.cc`); nothing where the rule is kept. They explain what the runtime left in float, and decide nothing.

const EIGHT_BITS: ReadonlySet<string> = new Set(['INT8', 'UINT8'])

/** Operands that reach the operator in float. Constants are no activations: `what` tells them apart. */
export function floatOperands(
  { dequantizer, index }: QuantizedGraph,
  node: Node,
  positions: readonly number[],
): string[] {
  return positions.flatMap((position) => {
    const value = node.inputs[position] ?? ''
    if (value === '' || dequantizer(value) !== undefined) return []
    const what = index.constant(value) === undefined ? 'its operand' : 'its constant'
    return [`${what} "${value}" comes in float, the integer kernel wants all operands quantized`]
  })
}

export function weightObstacles(graph: QuantizedGraph, node: Node): string[] {
  const [input = '', weights = ''] = node.inputs
  if (graph.quantizedConstant(weights) === undefined) return ['its weights are not constant']
  const [activation, weight] = [graph.dequantizer(input), graph.dequantizer(weights)].map(
    (one) => one && graph.affine(one),
  )
  if (activation?.dataType === 'INT8' && weight?.dataType === 'UINT8') {
    return ['its activations are int8 and its weights uint8: signed activations want signed weights']
  }
  return []
}

export function biasObstacles({ dequantizer, quantizedConstant, index }: QuantizedGraph, node: Node): string[] {
  const [, , bias = ''] = node.inputs
  if (bias === '') return []
  if (dequantizer(bias) === undefined) {
    const form = index.constant(bias) === undefined ? 'is not constant' : 'is in float'
    return [`its bias "${bias}" ${form}, the integer kernel wants int32 with the scale of input times weights`]
  }
  const dataType = quantizedConstant(bias)?.dataType
  return dataType === 'INT32'
    ? []
    : [`its bias "${bias}" is ${dataType ?? 'not constant'}, the integer kernel wants int32`]
}

export function gemmObstacles(node: Node): string[] {
  const scaled = floatAttribute(node, 'alpha', 1) !== 1 || floatAttribute(node, 'beta', 1) !== 1
  return scaled ? ['the integer kernel knows neither alpha nor beta'] : []
}

/** `needed`: the kernel gives out integers alone. */
export function outputObstacles(graph: QuantizedGraph, to: Destination, needed: boolean): string[] {
  if (to.kind === 'float') return needed ? ['its output is not quantized'] : []
  if (to.kind === 'shared') {
    const others = [
      ...(to.readers > 1 ? [`${to.readers} operators read`] : []),
      ...(to.isOutput ? ['the model gives out'] : []),
    ]
    return [
      `${others.join(' and ')} "${to.value}" (fan-out), the runtime fuses only with a single QuantizeLinear after it`,
    ]
  }
  const after = graph.affine(to.by)
  return after === undefined ? [] : to.clips.flatMap((clip) => clipObstacles(graph, clip, after))
}

function clipObstacles({ index }: QuantizedGraph, clip: Node, after: Affine): string[] {
  const range = realRange(after)
  if (range === undefined) return []
  const bound = (position: number, name: string, otherwise: number): number => {
    const tensor = index.constant(clip.inputs[position] ?? '')
    return tensor?.dataType === 'FLOAT' ? (asFloat32(tensor)[0] ?? otherwise) : floatAttribute(clip, name, otherwise)
  }
  const isRelu = clip.opType === 'Relu'
  const min = isRelu ? 0 : bound(1, 'min', Number.NEGATIVE_INFINITY)
  const max = isRelu ? Number.POSITIVE_INFINITY : bound(2, 'max', Number.POSITIVE_INFINITY)
  if (range.min < min) {
    return [
      `the quantization after its ${clip.opType} reaches down to ${rounded(range.min)}, so the ${clip.opType} cannot be dropped: make the range start at ${rounded(min)} (asymmetric) instead`,
    ]
  }
  if (range.max <= max) return []
  return [
    `the quantization after its ${clip.opType} reaches up to ${rounded(range.max)}, beyond ${rounded(max)}, so the ${clip.opType} cannot be dropped`,
  ]
}

export function typeObstacles(graph: QuantizedGraph, inputs: readonly string[], to: Destination): string[] {
  const types = [
    ...inputs.map((value) => graph.dequantizer(value)),
    ...(to.kind === 'quantized' ? [to.by] : []),
  ].flatMap((one) => (one && graph.affine(one)?.dataType) ?? [])
  const wide = types.find((type) => !EIGHT_BITS.has(type))
  if (wide !== undefined) return [`its activations are ${wide}, the integer kernels are for 8 bits`]
  return new Set(types).size > 1 ? [`its inputs and outputs mix ${[...new Set(types)].join(' and ')}`] : []
}

/** For operators that only move values. */
export function passingObstacles(graph: QuantizedGraph, node: Node, to: Destination): string[] {
  const before = graph.dequantizer(node.inputs[0] ?? '')
  const [left, right] = [before, to.kind === 'quantized' ? to.by : undefined].map((one) => one && graph.affine(one))
  if (left === undefined || right === undefined || sameAffine(left, right)) return []
  return [
    `it only moves values, but the scales before and after it differ (${describe(left)} and ${describe(right)}): they have to be equal`,
  ]
}

function describe({ scales: [scale = 0], zeroPoint }: Affine): string {
  return `${rounded(scale)} with zero point ${zeroPoint}`
}

function rounded(value: number): string {
  return String(Number(value.toPrecision(4)))
}
