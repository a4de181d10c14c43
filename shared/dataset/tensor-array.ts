import type { TENSOR_TYPES } from '../model/primitives.ts'

/** Element types a dataset may hold, as onnxruntime-node names them. */
export type ElementType = (typeof TENSOR_TYPES)[number]

/** float16 elements are the raw bits in a Uint16Array, bool elements bytes of 0 and 1, as onnxruntime-node takes them. */
export type TensorArray =
  | Float32Array<ArrayBuffer>
  | Float64Array<ArrayBuffer>
  | Int8Array<ArrayBuffer>
  | Uint8Array<ArrayBuffer>
  | Int16Array<ArrayBuffer>
  | Uint16Array<ArrayBuffer>
  | Int32Array<ArrayBuffer>
  | Uint32Array<ArrayBuffer>
  | BigInt64Array<ArrayBuffer>
  | BigUint64Array<ArrayBuffer>

const VIEWS = {
  float32: Float32Array,
  float64: Float64Array,
  float16: Uint16Array,
  int8: Int8Array,
  uint8: Uint8Array,
  int16: Int16Array,
  uint16: Uint16Array,
  int32: Int32Array,
  uint32: Uint32Array,
  int64: BigInt64Array,
  uint64: BigUint64Array,
  bool: Uint8Array,
} as const

export function elementSizeBytes(dtype: ElementType): number {
  return VIEWS[dtype].BYTES_PER_ELEMENT
}

/** A view on the whole of `bytes`, whose length is a multiple of the element size. */
export function viewElements(bytes: ArrayBuffer, dtype: ElementType): TensorArray {
  return new VIEWS[dtype](bytes)
}

/** Elements as numbers: integers of 64 bits lose what is beyond 2^53, float16 bits are decoded. */
export function toNumbers(values: TensorArray, dtype: ElementType): Float64Array {
  if (dtype === 'float16') return Float64Array.from(values as Uint16Array, halfToNumber)
  return values instanceof BigInt64Array || values instanceof BigUint64Array
    ? Float64Array.from(values, Number)
    : Float64Array.from(values)
}

export function productOf(shape: readonly number[]): number {
  return shape.reduce((product, length) => product * length, 1)
}

/** IEEE 754 binary16: sign, 5 bits of exponent, 10 of fraction. */
function halfToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >> 10) & 0x1f
  const fraction = bits & 0x3ff
  if (exponent === 0) return sign * fraction * 2 ** -24
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15)
}
