import { intsValue, intValue } from '@edgefit/shared/onnx'
import type { Emitter } from '../emitter.ts'
import type { GradientRequest, GradientRule, GradientRules } from '../gradient-rule.ts'
import { type Correlation, correlationOf } from './convolution-geometry.ts'
import { gradientByWeights } from './convolution-weights.ts'
import { of } from './window-geometry.ts'

/** Convolutions over one, two or three spatial axes with any group, strides, dilations and padding. */
export const convolutionRules: GradientRules = { Conv: convolution, ConvTranspose: convolution }

function convolution({ node, outputGradients, wanted, shapeOf, emit }: GradientRequest): ReturnType<GradientRule> {
  const [gradient] = outputGradients
  if (gradient === undefined) return []
  const [x = '', w = ''] = node.inputs
  const correlation = correlationOf(node, shapeOf)
  const transposed = node.opType === 'ConvTranspose'
  const [large, small] = transposed ? [gradient, x] : [x, gradient]
  return [
    wanted[0] ? (transposed ? toSmall : toLarge)(emit, correlation, gradient, w) : undefined,
    wanted[1] ? gradientByWeights(emit, correlation, large, small) : undefined,
    wanted[2] ? emit.reduceSum(gradient, [0, ...correlation.kernel.map((_, axis) => axis + 2)], false) : undefined,
  ]
}

function toSmall(emit: Emitter, correlation: Correlation, large: string, weights: string): string {
  const { kernel, padsBegin, padsEnd, strides, dilations, group } = correlation
  const covered = padsEnd.map((pad, axis) => of(correlation.large, axis) + Math.min(0, pad))
  const cut = covered.every((length, axis) => length === correlation.large[axis])
  const axes = kernel.map((_, axis) => axis)
  const read = cut
    ? large
    : emit.add('Slice', [
        large,
        emit.ints(axes.map(() => 0)),
        emit.ints(covered),
        emit.ints(axes.map((axis) => axis + 2)),
      ])
  return emit.add('Conv', [read, weights], {
    kernel_shape: intsValue(kernel),
    strides: intsValue(strides),
    dilations: intsValue(dilations),
    pads: intsValue([...padsBegin, ...padsEnd.map((pad) => Math.max(0, pad))]),
    group: intValue(group),
  })
}

/**
 * For stride 1 the convolution with the flipped kernel, which beats the transposed one by 1.0 to 1.5 times for dense
 * kernels and by 2.7 for depthwise.
 */
function toLarge(emit: Emitter, correlation: Correlation, small: string, weights: string): string {
  const { kernel, padsBegin, padsEnd, strides, dilations, group } = correlation
  const flippedPads = [padsBegin, padsEnd].flatMap((pads) =>
    pads.map((pad, axis) => of(dilations, axis) * (of(kernel, axis) - 1) - pad),
  )
  const shared = { kernel_shape: intsValue(kernel), dilations: intsValue(dilations), group: intValue(group) }
  if (strides.every((stride) => stride === 1) && flippedPads.every((pad) => pad >= 0)) {
    return emit.add('Conv', [small, flipped(emit, correlation, weights)], { ...shared, pads: intsValue(flippedPads) })
  }
  return emit.add('ConvTranspose', [small, weights], {
    ...shared,
    strides: intsValue(strides),
    pads: intsValue([...padsBegin, ...padsEnd.map((pad) => Math.max(0, pad))]),
    output_padding: intsValue(padsEnd.map((pad) => Math.max(0, -pad))),
  })
}

/** Weights of the way back: channels and filters swapped within each group, the kernel turned around. */
function flipped(emit: Emitter, { kernel, group, channels, filters }: Correlation, weights: string): string {
  const [rows, columns] = [filters / group, channels / group]
  const everywhere = (value: number): string => emit.ints(kernel.map(() => value))
  const axes = kernel.map((_, axis) => axis + 2)
  const turned = kernel.every((length) => length === 1)
    ? weights
    : emit.add('Slice', [weights, everywhere(-1), everywhere(Number.MIN_SAFE_INTEGER), emit.ints(axes), everywhere(-1)])
  if (rows === 1 && columns === 1) return turned
  if (group === 1) return emit.add('Transpose', [turned], { perm: intsValue([1, 0, ...axes]) })
  const grouped = emit.reshape(turned, [group, rows, columns, ...kernel])
  const swapped = emit.add('Transpose', [grouped], { perm: intsValue([0, 2, 1, ...axes.map((axis) => axis + 1)]) })
  return emit.reshape(swapped, [channels, rows, ...kernel])
}
