import type { Node } from '@edgefit/shared/onnx'
import type { GradientRule } from '../gradient-rule.ts'
import { type Algebra, algebra } from './algebra.ts'

export interface UnaryTerms extends Algebra {
  /** Names of the input, the output, and dL/d(output). */
  readonly x: string
  readonly y: string
  readonly g: string
  readonly node: Node
}

/** The rule of a function of single elements: `unary(({ g, y, mul }) => mul(g, y))`. */
export function unary(gradient: (terms: UnaryTerms) => string): GradientRule {
  return ({ node, outputGradients: [g = ''], emit }) => {
    const [x = ''] = node.inputs
    const [y = ''] = node.outputs
    return [gradient({ ...algebra(emit), x, y, g, node })]
  }
}
