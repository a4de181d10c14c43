import { floatAttribute, intAttribute, intsAttribute } from '../attributes.ts'
import type { DataType, Dim, Node, Tensor } from '../graph.ts'
import { constantOf } from '../graph-index.ts'
import { asFloat32, asInt32, asInt64Numbers, elementCount, int32Tensor, int64Tensor } from '../tensor.ts'
import { type Known, type KnownInts, known, MAX_INTS } from './rule.ts'

/** A constant's type and, when it may describe a shape, its integers. */
export function knownTensor(tensor: Tensor): Known {
  return known(tensor.dataType, tensor.dims, intsOf(tensor))
}

/** What a Constant node makes, in whichever attribute it keeps it. */
export function knownConstant(node: Node): Known {
  const tensor = constantOf(node)
  if (tensor !== undefined) return knownTensor(tensor)
  const int = intAttribute(node, 'value_int', undefined)
  if (int !== undefined) return known('INT64', [], { dims: [], values: [int] })
  const ints = intsAttribute(node, 'value_ints', undefined)
  if (ints !== undefined) return known('INT64', [ints.length], { dims: [ints.length], values: ints })
  if (floatAttribute(node, 'value_float', undefined) !== undefined) return known('FLOAT', [])
  const floats = node.attributes.get('value_floats')
  if (floats?.kind === 'FLOATS') return known('FLOAT', [floats.value.length])
  const strings = node.attributes.get('value_strings')
  if (strings?.kind === 'STRINGS') return known('STRING', [strings.value.length])
  return node.attributes.has('value_string') ? known('STRING', []) : {}
}

export function floatsOf(tensor: Tensor): readonly number[] | undefined {
  return tensor.dataType === 'FLOAT' && tensor.dims.length <= 1 ? [...asFloat32(tensor)] : undefined
}

function intsOf(tensor: Tensor): KnownInts | undefined {
  if (elementCount(tensor.dims) > MAX_INTS) return undefined
  let values: readonly Dim[]
  if (tensor.dataType === 'INT64') values = asInt64Numbers(tensor)
  else if (tensor.dataType === 'INT32') values = [...asInt32(tensor)]
  else if (tensor.dataType === 'BOOL') values = [...tensor.data]
  else return undefined
  return { dims: tensor.dims, values }
}

/** `ints` as a tensor, when every one is known exactly. */
export function knownInts(name: string, dataType: DataType, { dims, values }: KnownInts): Tensor | undefined {
  if (!values.every((value) => typeof value === 'number' && Number.isSafeInteger(value))) return undefined
  const numbers = values.map(Number)
  if (dataType === 'INT64') return int64Tensor(name, dims, numbers)
  if (dataType === 'BOOL') return { name, dataType, dims, data: Uint8Array.from(numbers) }
  const fits = dataType === 'INT32' && numbers.every((value) => value === (value | 0))
  return fits ? int32Tensor(name, dims, Int32Array.from(numbers)) : undefined
}
