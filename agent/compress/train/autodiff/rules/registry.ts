import type { GradientRule } from '../gradient-rule.ts'

/** The gradient of every operator of ai.onnx that can be trained through. */
export const GRADIENT_RULES: ReadonlyMap<string, GradientRule> = new Map(Object.entries({}))
