/**
 * An ONNX model as immutable plain data. Names are those of the ONNX specification.
 *
 * Nothing here knows the file format. What Edgefit does not interpret (doc strings, metadata of nodes, model
 * functions, fields newer than this code) travels in `opaque`: bytes that `encodeModel` writes back unchanged. A
 * rewritten copy made with `{ ...value, ... }` therefore keeps them.
 */

/** Element types. */
export const DATA_TYPES = [
  // In the order of TensorProto.DataType, which numbers them from 1.
  'FLOAT',
  'UINT8',
  'INT8',
  'UINT16',
  'INT16',
  'INT32',
  'INT64',
  'STRING',
  'BOOL',
  'FLOAT16',
  'DOUBLE',
  'UINT32',
  'UINT64',
  'COMPLEX64',
  'COMPLEX128',
  'BFLOAT16',
  'FLOAT8E4M3FN',
  'FLOAT8E4M3FNUZ',
  'FLOAT8E5M2',
  'FLOAT8E5M2FNUZ',
  'UINT4',
  'INT4',
  'FLOAT4E2M1',
  'FLOAT8E8M0',
  'UINT2',
  'INT2',
] as const
export type DataType = (typeof DATA_TYPES)[number]

/** A constant. `data` is shared with the file it came from: read it, never write it. */
export interface Tensor {
  readonly name: string
  readonly dataType: DataType
  /** Row-major; `[]` is a scalar. */
  readonly dims: readonly number[]
  /**
   * Little-endian elements at any byte alignment, read them with `asFloat32` and its kind. BOOL is one byte an element;
   * types of 4 and 2 bits are packed from the low bits up. Empty for STRING.
   */
  readonly data: Uint8Array
  /** Elements of a STRING tensor. */
  readonly strings?: readonly Uint8Array[]
  readonly opaque?: Uint8Array
}

type AttributeValue =
  | { readonly kind: 'FLOAT'; readonly value: number }
  /** Exact 64 bit; {@link intAttribute} reads it as a number. */
  | { readonly kind: 'INT'; readonly value: bigint }
  | { readonly kind: 'STRING'; readonly value: string }
  | { readonly kind: 'TENSOR'; readonly value: Tensor }
  | { readonly kind: 'GRAPH'; readonly value: Graph }
  | { readonly kind: 'FLOATS'; readonly value: readonly number[] }
  | { readonly kind: 'INTS'; readonly value: readonly bigint[] }
  | { readonly kind: 'STRINGS'; readonly value: readonly string[] }
  | { readonly kind: 'TENSORS'; readonly value: readonly Tensor[] }
  | { readonly kind: 'GRAPHS'; readonly value: readonly Graph[] }
  /** Sparse tensors, types, strings that are not UTF-8: all of it is in `opaque`. */
  | { readonly kind: 'OPAQUE' }

export type Attribute = AttributeValue & { readonly opaque?: Uint8Array }

export interface Node {
  /** May be empty, and is then no identity; values are identified by the names of `outputs`. */
  readonly name: string
  readonly opType: string
  /** `''` is ai.onnx. */
  readonly domain: string
  /** Names of values; `''` is an optional input left out. */
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  readonly attributes: ReadonlyMap<string, Attribute>
  readonly opaque?: Uint8Array
}

/** A length, a symbolic length (`'batch'`), or unknown. */
export type Dim = number | string | undefined
export type Shape = readonly Dim[]

export interface TensorType {
  readonly kind: 'tensor'
  readonly dataType: DataType
  /** Absent when even the rank is unknown. */
  readonly shape?: Shape
}

/** Sequences, optionals, maps, sparse tensors: kept in the value info's `opaque`. */
export interface OpaqueType {
  readonly kind: 'opaque'
}

export interface ValueInfo {
  readonly name: string
  readonly type?: TensorType | OpaqueType
  readonly opaque?: Uint8Array
}

export interface Graph {
  readonly name: string
  /** In topological order. */
  readonly nodes: readonly Node[]
  readonly initializers: ReadonlyMap<string, Tensor>
  /**
   * As declared, so that an input may have an initializer for its default: see {@link freeInputs}. Before IR version 4
   * every initializer had to be an input; reading leaves those out and writing puts them back.
   */
  readonly inputs: readonly ValueInfo[]
  readonly outputs: readonly ValueInfo[]
  /** Types of values that are neither inputs nor outputs, where known. */
  readonly valueInfo: ReadonlyMap<string, ValueInfo>
  readonly opaque?: Uint8Array
}

export interface Model {
  readonly irVersion: number
  /** Domain (`''` is ai.onnx) → opset version. */
  readonly opsetImports: ReadonlyMap<string, number>
  readonly producerName: string
  readonly producerVersion: string
  readonly metadata: ReadonlyMap<string, string>
  readonly graph: Graph
  readonly opaque?: Uint8Array
}

/** From this IR version on, an initializer that is also an input is a default that callers may override. */
export const OVERRIDABLE_IR_VERSION = 4

/** The inputs a caller must feed: those declared, without the ones that an initializer already fills. */
export function freeInputs(graph: Graph): readonly ValueInfo[] {
  return graph.inputs.filter((input) => !graph.initializers.has(input.name))
}
