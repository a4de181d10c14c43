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

/** For a depthwise convolution of stride 1 the convolution with the flipped kernel is the faster form by far. */
function toLarge(emit: Emitter, correlation: Correlation, small: string, weights: string): string {
  const { kernel, padsBegin, padsEnd, strides, dilations, group, channels, filters } = correlation
  const reach = kernel.map((length, axis) => of(dilations, axis) * (length - 1))
  const flippedPads = [padsBegin, padsEnd].flatMap((pads) => pads.map((pad, axis) => of(reach, axis) - pad))
  const flippable = strides.every((stride) => stride === 1) && flippedPads.every((pad) => pad >= 0)
  const shared = {
    kernel_shape: intsValue(kernel),
    dilations: intsValue(dilations),
    group: intValue(group),
  }
  if (channels === group && filters === group && flippable) {
    return emit.add('Conv', [small, flipped(emit, weights, kernel)], { ...shared, pads: intsValue(flippedPads) })
  }
  const unreached = padsEnd.map((pad) => Math.max(0, -pad))
  return emit.add('ConvTranspose', [small, weights], {
    ...shared,
    strides: intsValue(strides),
    pads: intsValue([...padsBegin, ...padsEnd.map((pad) => Math.max(0, pad))]),
    output_padding: intsValue(unreached),
  })
}

function flipped(emit: Emitter, weights: string, kernel: readonly number[]): string {
  const everywhere = (value: number): string => emit.ints(kernel.map(() => value))
  const axes = emit.ints(kernel.map((_, axis) => axis + 2))
  return emit.add('Slice', [weights, everywhere(-1), everywhere(Number.MIN_SAFE_INTEGER), axes, everywhere(-1)])
}
