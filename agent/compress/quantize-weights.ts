import { EdgefitError } from '@edgefit/shared'
import { asFloat32, elementCount, type Tensor } from '@edgefit/shared/onnx'
import {
  type AffineParams,
  asymmetricParams,
  dequantize,
  type Interval,
  type QuantizedType,
  quantizeInto,
  roundInto,
  symmetricParams,
  weightRange,
} from './affine.ts'
import { valuesOf } from './quantized-constants.ts'
import { isUp, type RoundUp } from './rounding/roundings.ts'

export interface WeightFormat {
  readonly type: QuantizedType
  readonly reducedRange: boolean
}

/**
 * | name    | shape       | dtype         | range                                       |
 * | ------- | ----------- | ------------- | ------------------------------------------- |
 * | values  | as weights  | int8 or uint8 | {@link weightRange}, row-major              |
 * | params  | [channels]  |               | one entry in all when quantized as a whole  |
 */
export interface QuantizedWeights {
  readonly values: Int8Array | Uint8Array
  readonly params: readonly AffineParams[]
}

export interface WeightOptions extends WeightFormat {
  /** The axis whose entries get a scale each; absent: one scale for the whole tensor. */
  readonly axis?: number
  /** Lower bound on the scale of each int8 channel, in the order of `params`. */
  readonly minScales?: readonly number[]
  /** Which way each weight goes. Absent: to the nearest step. */
  readonly roundUp?: RoundUp | undefined
}

/**
 * Quantizes a FLOAT tensor: int8 symmetric with zero point 0, uint8 asymmetric.
 *
 * @throws EdgefitError MODEL_INVALID naming the tensor when a weight is not finite.
 */
export function quantizeWeights(weights: Tensor, options: WeightOptions): QuantizedWeights {
  refuseNotFinite(weights)
  const source = asFloat32(weights)
  const integers = weightRange(options.type, options.reducedRange)
  const values = valuesOf(options.type, source.length)
  const { roundUp } = options
  const params = channelRanges(weights.dims, source, options.axis).map((range, channel) => {
    if (options.type === 'uint8') return asymmetricParams(range, integers)
    const maxAbs = Math.max(Math.abs(range.min), Math.abs(range.max))
    return symmetricParams(maxAbs, integers, options.minScales?.[channel])
  })
  forEachRun(weights.dims, options.axis, (channel, start, end) => {
    const own = params[channel]
    if (own === undefined) throw new RangeError(`weights "${weights.name}" have no channel ${channel}`)
    if (roundUp === undefined) quantizeInto(values, source, own, integers, start, end)
    else roundInto(values, source, own, integers, (index) => isUp(roundUp, index), start, end)
  })
  return { values, params }
}

/** What stands for the weights after rounding. `axis`: as they were quantized. */
export function dequantizeWeights(
  dims: readonly number[],
  { values, params }: QuantizedWeights,
  axis: number | undefined,
): Float32Array {
  const real = new Float32Array(values.length)
  forEachRun(dims, axis, (channel, start, end) => {
    const own = params[channel]
    if (own === undefined) return
    for (let index = start; index < end; index++) real[index] = dequantize(values[index] ?? 0, own)
  })
  return real
}

/** Calls `visit` with every stretch of consecutive elements that belong to one entry of `axis`. */
function forEachRun(
  dims: readonly number[],
  axis: number | undefined,
  visit: (channel: number, start: number, end: number) => void,
): void {
  const channels = axis === undefined ? 1 : (dims[axis] ?? 1)
  const inner = axis === undefined ? elementCount(dims) : elementCount(dims.slice(axis + 1))
  const runs = inner === 0 ? 0 : elementCount(dims) / inner
  for (let run = 0; run < runs; run++) visit(run % channels, run * inner, (run + 1) * inner)
}

function channelRanges(dims: readonly number[], source: Float32Array, axis: number | undefined): readonly Interval[] {
  const ranges = Array.from({ length: axis === undefined ? 1 : (dims[axis] ?? 1) }, () => ({ min: 0, max: 0 }))
  forEachRun(dims, axis, (channel, start, end) => {
    const range = ranges[channel]
    if (range === undefined) return
    for (let index = start; index < end; index++) {
      const value = source[index] ?? 0
      if (value < range.min) range.min = value
      if (value > range.max) range.max = value
    }
  })
  return ranges
}

/** @throws EdgefitError MODEL_INVALID naming the tensor when an element of it is NaN or infinite. */
export function refuseNotFinite(tensor: Tensor): void {
  const found = asFloat32(tensor).find((value) => !Number.isFinite(value))
  if (found === undefined) return
  throw new EdgefitError(`weights "${tensor.name}" hold ${found}; train or export the model again`, {
    code: 'MODEL_INVALID',
    details: { tensor: tensor.name },
  })
}
