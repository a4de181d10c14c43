import type { TENSOR_TYPES } from '@edgefit/shared/model'
import type { Model } from '@edgefit/shared/onnx'

/** Element types as onnxruntime-node names them. */
export type RuntimeTensorType = (typeof TENSOR_TYPES)[number]

type RuntimeTensorData =
  | Float32Array
  | Float64Array
  | Int8Array
  | Uint8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | BigInt64Array
  | BigUint64Array

/** Row-major elements. `bool` is one byte an element; `float16` the raw bits in a Uint16Array. */
export interface FeedTensor {
  readonly type: RuntimeTensorType
  readonly dims: readonly number[]
  readonly data: RuntimeTensorData
}

/** Owned by the caller of `run`: the session neither reads nor writes it again. */
export type OutputTensor = FeedTensor

/** One loaded model. One `run` at a time; `release` frees the native memory and is the last call. */
interface RuntimeSession {
  run(feeds: Readonly<Record<string, FeedTensor>>): Promise<Readonly<Record<string, OutputTensor>>>
  release(): Promise<void>
}

interface OpenSessionOptions {
  readonly graphOptimization: 'disabled' | 'basic' | 'extended' | 'all'
  /** Intra-op threads. */
  readonly threads: number
  /**
   * Whether the runtime takes one block for all values of a run, planned from the run before. Default: true. A training
   * step needs a third to a half less at its peak without, in the same time.
   */
  readonly memoryPattern?: boolean
}

/**
 * How the compression passes reach the inference runtime; the adapter lives in `measure/`.
 *
 * `model` is an ONNX file in memory. Rejects with an EdgefitError: `MODEL_UNSUPPORTED` when the runtime refuses it.
 */
export type OpenSession = (model: Uint8Array, options: OpenSessionOptions) => Promise<RuntimeSession>

/**
 * The graph that the runtime makes of an ONNX file before it runs it, without the steps that only some CPUs take.
 *
 * Rejects with an EdgefitError: `MODEL_UNSUPPORTED` when the runtime refuses the file.
 */
export type OptimizedGraph = (model: Uint8Array) => Promise<Model>
