import { floatAttribute, intAttribute } from '@edgefit/shared/onnx'
import type { GradientRequest, GradientRule, GradientRules } from '../gradient-rule.ts'
import { algebra } from './algebra.ts'

/** With the statistics it was trained with, which stay as they are. */
export const batchNormalizationRules: GradientRules = { BatchNormalization: frozenBatchNormalization }

/**
 * y = (x − mean) / √(variance + epsilon) · scale + bias, for each channel.
 *
 * Centering x before it is summed keeps the gradient of `scale` exact where the mean is large against the deviation.
 */
function frozenBatchNormalization({
  node,
  outputGradients: [g],
  wanted,
  shapeOf,
  emit,
}: GradientRequest): ReturnType<GradientRule> {
  if (intAttribute(node, 'training_mode', 0) === 1) return { refused: 'it computes its statistics from the batch' }
  if (wanted[3] || wanted[4]) return { refused: 'its statistics are trained' }
  if (g === undefined) return []
  const [x = '', scale = '', , mean = '', variance = ''] = node.inputs
  const { add, div, mul, pow, sub } = algebra(emit)
  const shape = shapeOf(x)
  const others = shape.flatMap((_, axis) => (axis === 1 ? [] : [axis]))
  const perChannel = (value: string): string => emit.reshape(value, [shape[1] ?? 1, ...shape.slice(2).map(() => 1)])
  const deviation = pow(add(variance, floatAttribute(node, 'epsilon', 1e-5)), 0.5)
  return [
    wanted[0] ? mul(g, perChannel(div(scale, deviation))) : undefined,
    wanted[1] ? div(emit.reduceSum(mul(g, sub(x, perChannel(mean))), others, false), deviation) : undefined,
    wanted[2] ? emit.reduceSum(g, others, false) : undefined,
  ]
}
