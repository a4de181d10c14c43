import type { DataType, Model } from '@edgefit/shared/onnx'

/** Type and lengths of a value while the model runs. */
export interface ValueType {
  readonly dataType: DataType
  readonly dims: readonly number[]
}

/**
 * What the runtime of this box makes of a model and runs: operators fused, and in the layout that this CPU likes best.
 * Only good for the box it was made on.
 */
export interface ExecutedGraph {
  readonly model: Model
  /** Of every value that is no constant. */
  readonly values: ReadonlyMap<string, ValueType>
}

/**
 * Adapter to the runtime; it lives in `measure/`.
 *
 * Rejects with an EdgefitError: `INPUT_INVALID` for inputs of open lengths, `MODEL_UNSUPPORTED` when the runtime refuses
 * the model.
 */
export type ExecutedGraphOf = (model: Model) => Promise<ExecutedGraph>
