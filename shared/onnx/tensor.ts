import { EdgefitError } from '../errors.ts'
import type { DataType, Tensor } from './graph.ts'

const BITS: Readonly<Record<DataType, number>> = {
  FLOAT: 32,
  UINT8: 8,
  INT8: 8,
  UINT16: 16,
  INT16: 16,
  INT32: 32,
  INT64: 64,
  STRING: 0,
  BOOL: 8,
  FLOAT16: 16,
  DOUBLE: 64,
  UINT32: 32,
  UINT64: 64,
  COMPLEX64: 64,
  COMPLEX128: 128,
  BFLOAT16: 16,
  FLOAT8E4M3FN: 8,
  FLOAT8E4M3FNUZ: 8,
  FLOAT8E5M2: 8,
  FLOAT8E5M2FNUZ: 8,
  UINT4: 4,
  INT4: 4,
  FLOAT4E2M1: 4,
  FLOAT8E8M0: 8,
  UINT2: 2,
  INT2: 2,
}

/** Bits an element takes in `Tensor.data`; 0 for STRING, whose elements are not there. */
export function bitsPerElement(dataType: DataType): number {
  return BITS[dataType]
}

export function elementCount(dims: readonly number[]): number {
  return dims.reduce((product, dim) => product * dim, 1)
}

/** Bytes that `Tensor.data` must have. */
export function dataSizeBytes(dataType: DataType, dims: readonly number[]): number {
  return Math.ceil((elementCount(dims) * BITS[dataType]) / 8)
}

/** `values` are shared, not copied. @throws RangeError when they do not fill `dims`. */
export function floatTensor(name: string, dims: readonly number[], values: Float32Array): Tensor {
  return tensorOver(name, 'FLOAT', dims, values)
}

/** `values` are shared, not copied. @throws RangeError when they do not fill `dims`. */
export function int8Tensor(name: string, dims: readonly number[], values: Int8Array): Tensor {
  return tensorOver(name, 'INT8', dims, values)
}

/** `values` are shared, not copied. @throws RangeError when they do not fill `dims`. */
export function uint8Tensor(name: string, dims: readonly number[], values: Uint8Array): Tensor {
  return tensorOver(name, 'UINT8', dims, values)
}

/** `values` are shared, not copied. @throws RangeError when they do not fill `dims`. */
export function int32Tensor(name: string, dims: readonly number[], values: Int32Array): Tensor {
  return tensorOver(name, 'INT32', dims, values)
}

/** @throws RangeError when `values` do not fill `dims`. */
export function int64Tensor(name: string, dims: readonly number[], values: readonly (number | bigint)[]): Tensor {
  return tensorOver(
    name,
    'INT64',
    dims,
    BigInt64Array.from(values, (value) => BigInt(value)),
  )
}

/** A view where the bytes are aligned, otherwise a copy; do not modify. @throws EdgefitError MODEL_INVALID for another dataType. */
export function asFloat32(tensor: Tensor): Float32Array {
  const bytes = bytesOf(tensor, 'FLOAT')
  return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4)
}

/** A view; do not modify. @throws EdgefitError MODEL_INVALID for another dataType. */
export function asInt8(tensor: Tensor): Int8Array {
  const bytes = bytesOf(tensor, 'INT8')
  return new Int8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** A view; do not modify. @throws EdgefitError MODEL_INVALID for another dataType. */
export function asUint8(tensor: Tensor): Uint8Array {
  return bytesOf(tensor, 'UINT8')
}

/** A view where the bytes are aligned, otherwise a copy; do not modify. @throws EdgefitError MODEL_INVALID for another dataType. */
export function asInt32(tensor: Tensor): Int32Array {
  const bytes = bytesOf(tensor, 'INT32')
  return new Int32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4)
}

/**
 * INT64 elements as numbers; beyond 2^53 rounded, so that INT64_MAX ("to the end") stays larger than any length.
 *
 * @throws EdgefitError MODEL_INVALID for another dataType.
 */
export function asInt64Numbers(tensor: Tensor): number[] {
  const bytes = bytesOf(tensor, 'INT64')
  return Array.from(new BigInt64Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 8), Number)
}

type NumericArray = Float32Array | Int8Array | Uint8Array | Int32Array | BigInt64Array

function tensorOver(name: string, dataType: DataType, dims: readonly number[], values: NumericArray): Tensor {
  if (values.length !== elementCount(dims)) {
    throw new RangeError(`tensor "${name}": ${values.length} values do not fill [${dims.join(', ')}]`)
  }
  return { name, dataType, dims, data: new Uint8Array(values.buffer, values.byteOffset, values.byteLength) }
}

/** The tensor's bytes, at an address that a typed array of its element size accepts. */
function bytesOf(tensor: Tensor, dataType: DataType): Uint8Array {
  if (tensor.dataType !== dataType) {
    throw new EdgefitError(`tensor "${tensor.name}" is ${tensor.dataType}, expected ${dataType}`, {
      code: 'MODEL_INVALID',
      details: { tensor: tensor.name },
    })
  }
  const aligned = (tensor.data.byteOffset * 8) % BITS[dataType] === 0
  return aligned ? tensor.data : Uint8Array.from(tensor.data)
}
