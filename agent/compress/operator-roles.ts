import {
  asFloat32,
  elementCount,
  floatAttribute,
  intAttribute,
  type Node,
  stringAttribute,
  type Tensor,
} from '@edgefit/shared/onnx'
import type { Interval } from './affine.ts'

/**
 * How onnxruntime's CPU kernels let an operator take part in integer arithmetic, after its QDQ selectors
 * (`qdq_selector_action_transformer.cc`).
 *
 * - `layer`: multiplies by constant weights; what quantization is for.
 * - `light`: has an integer kernel; worth it only between quantized operators.
 * - `passing`: moves values about without changing them; input and outputs must share scale and zero point.
 * - `float`: no integer kernel, or `reason` why not this one.
 */
export type Role =
  | Layer
  | {
      readonly kind: 'light'
      /** Positions of the inputs that are quantized. */
      readonly operands: readonly number[]
      /** Gives out fewer elements than it takes in, so that converting its output is cheaper than its input. */
      readonly reduces?: boolean
      /** The range of the output by definition. */
      readonly fixed?: Interval
      /** A Relu or Clip: the runtime drops it where the quantization that follows clips as it does. */
      readonly bounds?: Interval
    }
  | { readonly kind: 'passing'; readonly reduces?: boolean }
  | { readonly kind: 'float'; readonly reason?: string }

export interface Layer {
  readonly kind: 'layer'
  readonly weights: Tensor
  /** Axis of the weights that counts output channels; absent where only one scale for all is possible. */
  readonly axis?: number
  readonly bias?: Tensor
  /** Whether the integer kernel can give out floats, so that nothing needs to be quantized after it. */
  readonly floatOutput: boolean
}

type Constants = (value: string) => Tensor | undefined

export const NO_BOUNDS: Interval = { min: Number.NEGATIVE_INFINITY, max: Number.POSITIVE_INFINITY }

/** Softmax and Sigmoid: with a scale of 1/256, as the integer kernels want it. */
const UNIT: Interval = { min: 0, max: 255 / 256 }

/** Why nothing in the subgraphs of control flow is quantized. */
export const INSIDE_STAYS = 'what its branches hold stays as it is'

const FLOAT: Role = { kind: 'float' }

export function roleOf(node: Node, constant: Constants): Role {
  const role = node.domain === '' ? roleOfType(node, constant) : FLOAT
  if (role.kind !== 'light' || !role.operands.some((at) => isMask(constant(node.inputs[at] ?? '')))) return role
  return { kind: 'float', reason: 'its constant masks values out, and would take up the whole range of 8 bits' }
}

/** Constants that stand for minus infinity: exporters write anything from -10,000 to the real thing. */
function isMask(tensor: Tensor | undefined): boolean {
  return tensor?.dataType === 'FLOAT' && asFloat32(tensor).some((value) => !(Math.abs(value) < 10_000))
}

function roleOfType(node: Node, constant: Constants): Role {
  switch (node.opType) {
    case 'Conv':
      return conv(node, constant)
    case 'Gemm':
      return gemm(node, constant)
    case 'MatMul':
      return matMul(node, constant)
    case 'ConvTranspose':
    case 'LSTM':
    case 'GRU':
    case 'RNN':
      return { kind: 'float', reason: 'the runtime has no integer kernel for it' }
    case 'If':
    case 'Loop':
    case 'Scan':
      return { kind: 'float', reason: INSIDE_STAYS }
    case 'Add':
    case 'Mul':
      return { kind: 'light', operands: [0, 1] }
    case 'Where':
      return { kind: 'light', operands: [1, 2] }
    case 'Concat':
      return { kind: 'light', operands: [...node.inputs.keys()] }
    case 'LeakyRelu':
      return { kind: 'light', operands: [0] }
    case 'AveragePool':
      return averagePool(node)
    case 'GlobalAveragePool':
      return { kind: 'light', operands: [0], reduces: true }
    case 'Sigmoid':
    case 'Softmax':
      return { kind: 'light', operands: [0], fixed: UNIT }
    case 'Relu':
      return { kind: 'light', operands: [0], bounds: { min: 0, max: Number.POSITIVE_INFINITY } }
    case 'Clip':
      return clip(node, constant)
    case 'MaxPool':
      return (node.outputs[1] ?? '') === '' ? { kind: 'passing', reduces: true } : FLOAT
    case 'Resize':
      return stringAttribute(node, 'mode', 'nearest') === 'nearest' ? { kind: 'passing' } : FLOAT
    case 'Expand':
    case 'Flatten':
    case 'Gather':
    case 'GatherElements':
    case 'Reshape':
    case 'Slice':
    case 'Split':
    case 'Squeeze':
    case 'Tile':
    case 'Transpose':
    case 'Unsqueeze':
      return { kind: 'passing' }
    default:
      return FLOAT
  }
}

function conv(node: Node, constant: Constants): Role {
  const weights = constant(node.inputs[1] ?? '')
  const bias = biasOf(node, constant, weights?.dims[0])
  if (weights?.dataType !== 'FLOAT') return notConstant('weights')
  if (bias === 'unusable') return notConstant('bias')
  return { kind: 'layer', weights, axis: 0, ...bias, floatOutput: false }
}

function gemm(node: Node, constant: Constants): Role {
  const weights = constant(node.inputs[1] ?? '')
  if (weights?.dataType !== 'FLOAT') return notConstant('weights')
  const axis = intAttribute(node, 'transB', 0) === 0 ? 1 : 0
  const bias = biasOf(node, constant, weights.dims[axis])
  if (bias === 'unusable') return notConstant('bias')
  const scaled = floatAttribute(node, 'alpha', 1) !== 1 || floatAttribute(node, 'beta', 1) !== 1
  if (scaled || intAttribute(node, 'transA', 0) !== 0) {
    return { kind: 'float', reason: 'the integer kernel knows neither alpha, beta nor transA' }
  }
  return { kind: 'layer', weights, axis, ...bias, floatOutput: true }
}

function matMul(node: Node, constant: Constants): Role {
  if (constant(node.inputs[0] ?? '') !== undefined) {
    return { kind: 'float', reason: 'its first operand is constant, the integer kernel wants the weights second' }
  }
  const weights = constant(node.inputs[1] ?? '')
  if (weights === undefined) return { kind: 'light', operands: [0, 1] }
  if (weights.dataType !== 'FLOAT' || weights.dims.length < 2) return notConstant('weights')
  return { kind: 'layer', weights, ...(weights.dims.length === 2 ? { axis: 1 } : {}), floatOutput: true }
}

function averagePool(node: Node): Role {
  const isInexact = intAttribute(node, 'ceil_mode', 0) !== 0 && intAttribute(node, 'count_include_pad', 0) !== 0
  if (isInexact) return { kind: 'float', reason: 'with ceil_mode the integer kernel counts the padding differently' }
  return { kind: 'light', operands: [0], reduces: true }
}

function biasOf(node: Node, constant: Constants, channels: number | undefined): { bias?: Tensor } | 'unusable' {
  const [, , name = ''] = node.inputs
  if (name === '') return {}
  const bias = constant(name)
  return bias?.dataType === 'FLOAT' && elementCount(bias.dims) === channels ? { bias } : 'unusable'
}

function clip(node: Node, constant: Constants): Role {
  const [, min = '', max = ''] = node.inputs
  const bound = (name: string, otherwise: number): number | undefined => {
    if (name === '') return otherwise
    const tensor = constant(name)
    return tensor?.dataType === 'FLOAT' ? asFloat32(tensor)[0] : undefined
  }
  const bounds = { min: bound(min, NO_BOUNDS.min), max: bound(max, NO_BOUNDS.max) }
  if (bounds.min === undefined || bounds.max === undefined) return FLOAT
  // 0 is always represented: a Clip that excludes it is never redundant.
  if (bounds.min > 0 || bounds.max < 0) return FLOAT
  return { kind: 'light', operands: [0], bounds: { min: bounds.min, max: bounds.max } }
}

function notConstant(what: string): Role {
  return { kind: 'float', reason: `its ${what} are not float32 constants of the expected size` }
}
