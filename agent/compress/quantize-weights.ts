import { EdgefitError } from '@edgefit/shared'
import { asFloat32, elementCount, type Tensor } from '@edgefit/shared/onnx'
import {
  type AffineParams,
  asymmetricParams,
  type Interval,
  type QuantizedType,
  quantizeInto,
  symmetricParams,
  weightRange,
} from './affine.ts'
import { valuesOf } from './quantized-constants.ts'

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
}

/**
 * Quantizes a FLOAT tensor: int8 symmetric with zero point 0, uint8 asymmetric.
 *
 * @throws EdgefitError MODEL_INVALID naming the tensor when a weight is not finite.
 */
export function quantizeWeights(weights: Tensor, options: WeightOptions): QuantizedWeights {
  const source = asFloat32(weights)
  const integers = weightRange(options.type, options.reducedRange)
  const values = valuesOf(options.type, source.length)
  const runs = channelRuns(weights.dims, options.axis)
  const params = channelRanges(weights, source, runs).map((range, channel) => {
    if (options.type === 'uint8') return asymmetricParams(range, integers)
    const maxAbs = Math.max(Math.abs(range.min), Math.abs(range.max))
    return symmetricParams(maxAbs, integers, options.minScales?.[channel])
  })
  for (const run of runs) {
    const channel = params[run.channel]
    if (channel === undefined) throw new RangeError(`weights "${weights.name}" have no channel ${run.channel}`)
    quantizeInto(values, source.subarray(run.start, run.end), channel, integers, run.start)
  }
  return { values, params }
}

/** Consecutive elements of one channel. */
interface Run {
  readonly channel: number
  readonly start: number
  readonly end: number
}

function channelRuns(dims: readonly number[], axis: number | undefined): readonly Run[] {
  if (axis === undefined) return [{ channel: 0, start: 0, end: elementCount(dims) }]
  const channels = dims[axis] ?? 1
  const inner = elementCount(dims.slice(axis + 1))
  const outer = elementCount(dims.slice(0, axis))
  return Array.from({ length: outer * channels }, (_, run) => ({
    channel: run % channels,
    start: run * inner,
    end: (run + 1) * inner,
  }))
}

function channelRanges(weights: Tensor, source: Float32Array, runs: readonly Run[]): readonly Interval[] {
  const ranges: Interval[] = []
  for (const { channel, start, end } of runs) {
    let { min, max } = ranges[channel] ?? { min: 0, max: 0 }
    for (let index = start; index < end; index++) {
      const value = source[index] ?? 0
      if (!Number.isFinite(value)) throw notFinite(weights, value)
      if (value < min) min = value
      if (value > max) max = value
    }
    ranges[channel] = { min, max }
  }
  return ranges
}

function notFinite(weights: Tensor, value: number): EdgefitError {
  return new EdgefitError(`weights "${weights.name}" hold ${value}; train or export the model again`, {
    code: 'MODEL_INVALID',
    details: { tensor: weights.name },
  })
}
