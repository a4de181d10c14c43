import { elementwiseRules } from './elementwise.ts'
import { layoutRules } from './layout.ts'
import { matrixRules } from './matrix.ts'
import { normalizationRules } from './normalization.ts'
import { quantizationRules } from './quantization.ts'
import { recurrentRules } from './recurrent.ts'
import { reductionRules } from './reduction.ts'
import { resizeRules } from './resize.ts'
import type { Rule } from './rule.ts'
import { samplingRules } from './sampling.ts'
import { selectionRules } from './selection.ts'
import { sourceRules } from './source.ts'
import { windowedRules } from './windowed.ts'

const RULES: ReadonlyMap<string, Rule> = new Map(
  Object.entries({
    ...elementwiseRules,
    ...layoutRules,
    ...matrixRules,
    ...normalizationRules,
    ...quantizationRules,
    ...recurrentRules,
    ...reductionRules,
    ...resizeRules,
    ...samplingRules,
    ...selectionRules,
    ...sourceRules,
    ...windowedRules,
  }),
)

/** The rule for an operator of ai.onnx; without one, its outputs stay unknown. */
export function ruleFor(opType: string): Rule | undefined {
  return RULES.get(opType)
}
