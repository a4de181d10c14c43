import type { Node, Tensor } from '@edgefit/shared/onnx'
import type { Emitter } from './emitter.ts'

/** One node of the forward graph whose gradient is asked for. Every shape is static: the batch is fixed before. */
export interface GradientRequest {
  readonly node: Node
  /** By output: the name of dL/d(output), of the output's shape; undefined where nothing flows back. At least one flows. */
  readonly outputGradients: readonly (string | undefined)[]
  /** By input: whether dL/d(input) is needed. At least one is. */
  readonly wanted: readonly boolean[]
  /** Shape of an input or output of `node`. */
  shapeOf(value: string): readonly number[]
  /** The value's tensor when it is a constant that training does not change. */
  constant(value: string): Tensor | undefined
  /** The node that makes the value; undefined for inputs and initializers. */
  producer(value: string): Node | undefined
  /** Name of the node's output at `position`, which the forward node is given when it does not have it (Indices, Mean). */
  forwardOutput(position: number): string
  readonly emit: Emitter
}

/** Why no gradient can be given: what lies upstream is then frozen, and the reason named. */
export interface GradientRefusal {
  readonly refused: string
}

/**
 * Emits nodes that compute the gradients of one node.
 *
 * @returns by input the name of dL/d(input), of the input's shape; undefined where it was not wanted, or is zero
 */
export type GradientRule = (request: GradientRequest) => readonly (string | undefined)[] | GradientRefusal

/** The rules of a family of operators, by operator of ai.onnx. */
export type GradientRules = Readonly<Record<string, GradientRule>>
