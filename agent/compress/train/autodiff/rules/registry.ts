import type { GradientRule } from '../gradient-rule.ts'
import { convolutionRules } from './convolution.ts'
import { elementwiseRules } from './elementwise.ts'

/** The gradients of operators of ai.onnx. Those without one freeze what lies upstream of them. */
export const GRADIENT_RULES: ReadonlyMap<string, GradientRule> = new Map(
  Object.entries({
    ...convolutionRules,
    ...elementwiseRules,
  }),
)
