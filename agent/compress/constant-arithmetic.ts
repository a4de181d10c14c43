import { asFloat32, type DataType, dataSizeBytes, floatTensor, type Tensor } from '@edgefit/shared/onnx'
import { expanded } from './constant-layout.ts'

/**
 * Arithmetic on constants that gives the same bits anywhere: what IEEE 754 rounds correctly, and whole numbers. float64
 * holds the exact result of a float32 operation well enough that rounding it again is right.
 */
export type Binary = 'Add' | 'Sub' | 'Mul' | 'Div'
export type Unary = 'Neg' | 'Abs' | 'Sqrt'

export function isBinary(opType: string): opType is Binary {
  return opType in FLOATS
}

export function isUnary(opType: string): opType is Unary {
  return opType in UNARY
}

const FLOATS: Readonly<Record<Binary, (left: number, right: number) => number>> = {
  Add: (left, right) => left + right,
  Sub: (left, right) => left - right,
  Mul: (left, right) => left * right,
  Div: (left, right) => left / right,
}

const INTEGERS: Readonly<Record<Binary, (left: bigint, right: bigint) => bigint>> = {
  Add: (left, right) => left + right,
  Sub: (left, right) => left - right,
  Mul: (left, right) => left * right,
  Div: (left, right) => left / right,
}

const UNARY: Readonly<Record<Unary, (value: number) => number>> = {
  Neg: (value) => -value,
  Abs: Math.abs,
  Sqrt: Math.sqrt,
}

/**
 * FLOAT or INT64 operands, broadcast. `undefined` for others, where whole numbers are divided by 0, and where the result
 * would have more than `maxBytes`.
 */
export function binary(opType: Binary, left: Tensor, right: Tensor, maxBytes: number): Tensor | undefined {
  const dims = broadcastDims(left.dims, right.dims)
  if (dataSizeBytes(left.dataType, dims) > maxBytes) return undefined
  const a = expanded(left, dims)
  const b = expanded(right, dims)
  if (a === undefined || b === undefined || a.dataType !== b.dataType) return undefined
  if (a.dataType === 'FLOAT') {
    const others = asFloat32(b)
    const values = asFloat32(a).map((value, at) => FLOATS[opType](value, others[at] ?? 0))
    return floatTensor('', a.dims, values)
  }
  if (a.dataType !== 'INT64') return undefined
  const others = bigints(b)
  if (opType === 'Div' && others.includes(0n)) return undefined
  const values = bigints(a).map((value, at) => BigInt.asIntN(64, INTEGERS[opType](value, others[at] ?? 0n)))
  return { ...a, data: new Uint8Array(values.buffer) }
}

export function unary(opType: Unary, tensor: Tensor): Tensor | undefined {
  if (tensor.dataType !== 'FLOAT') return undefined
  return floatTensor('', tensor.dims, asFloat32(tensor).map(UNARY[opType]))
}

/** Between FLOAT, INT64 and BOOL, where no value is out of range. */
export function cast(tensor: Tensor, to: DataType | undefined): Tensor | undefined {
  if (tensor.dataType === to) return tensor
  if (to !== 'FLOAT' && to !== 'INT64' && to !== 'BOOL') return undefined
  const values = numbersOf(tensor)
  if (values === undefined) return undefined
  const { dims } = tensor
  if (to === 'FLOAT') return floatTensor('', dims, Float32Array.from(values))
  if (to === 'BOOL')
    return { name: '', dataType: to, dims, data: Uint8Array.from(values, (value) => Number(value !== 0)) }
  if (!values.every((value) => Number.isSafeInteger(Math.trunc(value)))) return undefined
  const data = new Uint8Array(BigInt64Array.from(values, (value) => BigInt(Math.trunc(value))).buffer)
  return { name: '', dataType: to, dims, data }
}

function numbersOf(tensor: Tensor): readonly number[] | undefined {
  if (tensor.dataType === 'FLOAT') return [...asFloat32(tensor)]
  if (tensor.dataType === 'BOOL') return [...tensor.data]
  if (tensor.dataType !== 'INT64') return undefined
  const values = [...bigints(tensor)].map(Number)
  return values.every(Number.isSafeInteger) ? values : undefined
}

function bigints({ data }: Tensor): BigInt64Array {
  return new BigInt64Array(data.slice().buffer)
}

function broadcastDims(left: readonly number[], right: readonly number[]): readonly number[] {
  const rank = Math.max(left.length, right.length)
  const at = (dims: readonly number[], axis: number): number => dims[axis - rank + dims.length] ?? 1
  return Array.from({ length: rank }, (_, axis) => (at(left, axis) === 1 ? at(right, axis) : at(left, axis)))
}
