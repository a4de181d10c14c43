import type { Rule } from '../rule.ts'
import { convolutionRules } from './convolution.ts'
import { elementwiseRules } from './elementwise.ts'
import { joiningRules } from './joining.ts'
import { layoutRules } from './layout.ts'
import { matrixRules } from './matrix.ts'
import { normalizationRules } from './normalization.ts'
import { spatialRules } from './spatial.ts'

const RULES = new Map<string, Rule>(
  [
    convolutionRules,
    matrixRules,
    normalizationRules,
    elementwiseRules,
    spatialRules,
    joiningRules,
    layoutRules,
  ].flatMap((rules) => Object.entries(rules)),
)

/** The rule of an operator of ai.onnx. */
export function ruleFor(opType: string): Rule | undefined {
  return RULES.get(opType)
}
