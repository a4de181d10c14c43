import type { GradientRule } from '../gradient-rule.ts'
import { activationRules } from './activations.ts'
import { batchNormalizationRules } from './batch-normalization.ts'
import { convolutionRules } from './convolution.ts'
import { elementwiseRules } from './elementwise.ts'
import { layoutRules } from './layout.ts'
import { matrixRules } from './matrix.ts'
import { normalizationRules } from './normalization.ts'
import { poolingRules } from './pooling.ts'
import { quantizationRules } from './quantization.ts'
import { reductionRules } from './reductions.ts'
import { selectionRules } from './selection.ts'

/** The gradients of operators of ai.onnx. Those without one freeze what lies upstream of them. */
export const GRADIENT_RULES: ReadonlyMap<string, GradientRule> = new Map(
  Object.entries({
    ...activationRules,
    ...convolutionRules,
    ...batchNormalizationRules,
    ...elementwiseRules,
    ...layoutRules,
    ...matrixRules,
    ...normalizationRules,
    ...poolingRules,
    ...quantizationRules,
    ...reductionRules,
    ...selectionRules,
  }),
)
