import type { DataType, Dim, Node, Shape, TensorType } from '../graph.ts'

/** Longer integer tensors are data, not shapes. */
export const MAX_INTS = 1024

/** Integers that are known before the model runs: constants, and what Shape and its followers compute from dims. */
export interface KnownInts {
  readonly dims: readonly number[]
  /** Row-major. A symbolic dim stands for its length. Truth values are 0 and 1. */
  readonly values: readonly Dim[]
}

/** What is known of one value. */
export interface Known {
  readonly type?: TensorType
  readonly ints?: KnownInts
}

/** What a {@link Rule} sees of its node. */
export interface RuleInput {
  readonly node: Node
  /** Version of ai.onnx that gives the node its meaning. */
  readonly opset: number
  readonly inputCount: number
  hasInput(position: number): boolean
  dataType(position: number): DataType | undefined
  /** `undefined` when even the rank is unknown. */
  shape(position: number): Shape | undefined
  ints(position: number): KnownInts | undefined
  /** Elements of a constant FLOAT input. */
  floats(position: number): readonly number[] | undefined
}

/**
 * From what is known of the inputs to what is known of each output. A rule may know less than there is, never something
 * that the runtime contradicts.
 */
export type Rule = (input: RuleInput) => readonly Known[]

export type Rules = Readonly<Record<string, Rule>>

/** One output; without a data type nothing is known. */
export function known(dataType: DataType | undefined, shape: Shape | undefined, ints?: KnownInts): Known {
  if (dataType === undefined) return {}
  const type: TensorType = shape === undefined ? { kind: 'tensor', dataType } : { kind: 'tensor', dataType, shape }
  return ints === undefined ? { type } : { type, ints }
}
