import {
  asInt64Numbers,
  bitsPerElement,
  DATA_TYPES,
  elementCount,
  floatTensor,
  int64Tensor,
  intAttribute,
  intsAttribute,
  type Node,
  type Tensor,
  tensorAttribute,
} from '@edgefit/shared/onnx'
import { binary, cast, isBinary, isUnary, unary } from './constant-arithmetic.ts'
import { concatenated, expanded, positionsOf, taken, transposed } from './constant-layout.ts'

/**
 * What `node` makes of constants, without a name; `undefined` when it is not known here, an input is no constant, or the
 * result would have more than `maxBytes`. The result has the same bits on any machine.
 */
export function evaluateConstant(
  node: Node,
  constant: (value: string) => Tensor | undefined,
  maxBytes: number,
): Tensor | undefined {
  if (node.domain !== '' || node.outputs.length !== 1) return undefined
  const inputs = node.inputs.map((value) => (value === '' ? undefined : constant(value)))
  const [first, second] = inputs
  if (node.opType === 'Constant') return constantValue(node)
  if (first === undefined || node.inputs.some((value, at) => value !== '' && inputs[at] === undefined)) return undefined
  if (isBinary(node.opType)) return second && binary(node.opType, first, second, maxBytes)
  if (isUnary(node.opType)) return unary(node.opType, first)
  switch (node.opType) {
    case 'Identity':
      return first
    case 'ConstantOfShape':
      return filled(asInt64Numbers(first), tensorAttribute(node, 'value'), maxBytes)
    case 'Expand':
      return second && expandedTo(first, asInt64Numbers(second), maxBytes)
    case 'Reshape':
    case 'Squeeze':
    case 'Unsqueeze':
      return reshaped(node, first, second)
    case 'Transpose':
      return transposed(first, intsAttribute(node, 'perm', [...first.dims.keys()].toReversed()))
    case 'Concat':
      return concatenated(
        inputs.filter((input) => input !== undefined),
        intAttribute(node, 'axis', 0),
      )
    case 'Gather':
      return second && gathered(first, second, intAttribute(node, 'axis', 0))
    case 'Cast':
      return cast(first, DATA_TYPES[intAttribute(node, 'to', 0) - 1])
    default:
      return undefined
  }
}

function constantValue(node: Node): Tensor | undefined {
  const [output = ''] = node.outputs
  const one = node.attributes.get('value_float') ?? node.attributes.get('value_int')
  if (one?.kind === 'FLOAT') return floatTensor(output, [], Float32Array.of(one.value))
  if (one?.kind === 'INT') return int64Tensor(output, [], [one.value])
  const many = node.attributes.get('value_floats') ?? node.attributes.get('value_ints')
  if (many?.kind === 'FLOATS') return floatTensor(output, [many.value.length], Float32Array.from(many.value))
  if (many?.kind === 'INTS') return int64Tensor(output, [many.value.length], many.value)
  return tensorAttribute(node, 'value')
}

function filled(dims: readonly number[], value: Tensor | undefined, maxBytes: number): Tensor | undefined {
  const elementBytes = value === undefined ? 4 : bitsPerElement(value.dataType) / 8
  const sizeBytes = elementCount(dims) * elementBytes
  if (!Number.isInteger(elementBytes) || elementBytes === 0 || !(sizeBytes >= 0 && sizeBytes <= maxBytes))
    return undefined
  if (value === undefined) return floatTensor('', dims, new Float32Array(elementCount(dims)))
  const data = new Uint8Array(sizeBytes)
  for (let offset = 0; offset < data.length; offset += elementBytes) data.set(value.data, offset)
  return { name: '', dataType: value.dataType, dims, data }
}

/** The target may ask for 1 where the tensor has more. */
function expandedTo(tensor: Tensor, target: readonly number[], maxBytes: number): Tensor | undefined {
  const rank = Math.max(tensor.dims.length, target.length)
  const dims = Array.from({ length: rank }, (_, axis) => {
    const wanted = target[axis - rank + target.length] ?? 1
    return wanted === 1 ? (tensor.dims[axis - rank + tensor.dims.length] ?? 1) : wanted
  })
  const sizeBytes = (elementCount(dims) * bitsPerElement(tensor.dataType)) / 8
  return sizeBytes >= 0 && sizeBytes <= maxBytes ? expanded(tensor, dims) : undefined
}

function gathered(tensor: Tensor, indices: Tensor, givenAxis: number): Tensor | undefined {
  const axis = givenAxis < 0 ? givenAxis + tensor.dims.length : givenAxis
  const positions = positionsOf(indices, tensor.dims[axis] ?? 0)
  const chosen = positions && taken(tensor, axis, positions)
  return chosen && { ...chosen, dims: tensor.dims.toSpliced(axis, 1, ...indices.dims) }
}

/** `operand`: the target shape of Reshape; the axes of the others where they are an input, since opset 13. */
function reshaped(node: Node, input: Tensor, operand: Tensor | undefined): Tensor | undefined {
  const given = operand === undefined ? undefined : asInt64Numbers(operand)
  const axes = given ?? intsAttribute(node, 'axes', undefined)
  const dims =
    node.opType === 'Reshape'
      ? targetDims(input, given ?? [])
      : node.opType === 'Unsqueeze'
        ? unsqueezed(input.dims, axes ?? [])
        : squeezed(input.dims, axes)
  return elementCount(dims) === elementCount(input.dims) ? { ...input, dims } : undefined
}

function targetDims(input: Tensor, shape: readonly number[]): readonly number[] {
  const dims = shape.map((dim, axis) => (dim === 0 ? (input.dims[axis] ?? 0) : dim))
  const known = elementCount(dims.filter((dim) => dim !== -1))
  return dims.map((dim) => (dim === -1 ? elementCount(input.dims) / known : dim))
}

function unsqueezed(dims: readonly number[], axes: readonly number[]): readonly number[] {
  const rank = dims.length + axes.length
  const inserted = new Set(axes.map((axis) => (axis < 0 ? axis + rank : axis)))
  const rest = dims.values()
  return Array.from({ length: rank }, (_, axis) => (inserted.has(axis) ? 1 : (rest.next().value ?? 1)))
}

function squeezed(dims: readonly number[], axes: readonly number[] | undefined): readonly number[] {
  const removed = new Set(axes?.map((axis) => (axis < 0 ? axis + dims.length : axis)))
  return dims.filter((dim, axis) => (axes === undefined ? dim !== 1 : !removed.has(axis)))
}
