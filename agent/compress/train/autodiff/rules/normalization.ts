import { intAttribute } from '@edgefit/shared/onnx'
import type { GradientRequest, GradientRule, GradientRules } from '../gradient-rule.ts'
import { algebra } from './algebra.ts'
import { positiveAxis } from './axes.ts'
import { sumToShape } from './broadcast.ts'

export const normalizationRules: GradientRules = { LayerNormalization: layerNormalization }

/**
 * With x̂ = (x - mean)·s, where s is the inverse deviation, and h = g·scale:
 * dx = s·(h - mean(h) - x̂·mean(h·x̂)), dscale = Σ g·x̂, dbias = Σ g.
 */
function layerNormalization(request: GradientRequest): ReturnType<GradientRule> {
  const { node, outputGradients, wanted, shapeOf, forwardOutput, emit } = request
  const [g, ...others] = outputGradients
  if (g === undefined || others.some((gradient) => gradient !== undefined)) {
    return { refused: 'the loss depends on its statistics' }
  }
  const { sub, mul } = algebra(emit)
  const [x = '', scale = '', bias = ''] = node.inputs
  const shape = shapeOf(x)
  const from = positiveAxis(intAttribute(node, 'axis', -1), shape.length)
  const axes = shape.flatMap((_, axis) => (axis < from ? [] : [axis]))
  const deviation = forwardOutput(2)
  const normalized = mul(sub(x, forwardOutput(1)), deviation)
  const byX = () => {
    const mean = (value: string): string => emit.reduce('ReduceMean', value, axes, true)
    const h = mul(g, scale)
    return mul(deviation, sub(sub(h, mean(h)), mul(normalized, mean(mul(h, normalized)))))
  }
  return [
    wanted[0] ? byX() : undefined,
    wanted[1] ? sumToShape(emit, mul(g, normalized), shape, shapeOf(scale)) : undefined,
    wanted[2] ? sumToShape(emit, g, shape, shapeOf(bias)) : undefined,
  ]
}
