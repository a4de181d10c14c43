import { int8Tensor, uint8Tensor } from '@edgefit/shared/onnx'
import {
  type AffineParams,
  FULL_RANGE,
  fitWithin,
  type Interval,
  type QuantizedType,
  roundHalfEven,
} from '../../affine.ts'
import { constantParams, type ParamsWriter } from '../../quantize-static/insert-qdq.ts'
import type { Group } from '../../quantize-static/shared-groups.ts'
import type { Emitter } from '../autodiff/emitter.ts'
import type { Numbers } from '../run-step.ts'
import type { Optimizer } from '../step/optimizers.ts'
import type { TrainableWeight } from '../trainable.ts'
import { emitInto } from './emit-into.ts'
import { emitLearned, type LearnedNumbers, learnedValues, learningUnit } from './learned-numbers.ts'

/** How far a scale may shrink: a step too long must not make it vanish. */
const LEAST_SHARE = 1 / 64

export interface RangesToLearn {
  /** Of the groups whose ranges are to be learned, by leader. */
  readonly groups: ReadonlyMap<string, GroupToLearn>
  readonly type: QuantizedType
  readonly opset: number
  readonly optimizer: Optimizer['kind']
  /** Receives values through which no gradient is meant to flow. */
  readonly barriers: Set<string>
}

export interface GroupToLearn extends Group {
  /** Of one sample, in all values of the group. */
  readonly elements: number
}

export interface LearnedRanges {
  /** Constants for groups whose ranges are not learned. */
  readonly write: ParamsWriter
  readonly trainable: readonly TrainableWeight[]
  /** `ranges` with what has been learned: quantizing to these gives scales and zero points as trained. */
  exported(ranges: ReadonlyMap<string, Interval>, weights: Numbers): ReadonlyMap<string, Interval>
}

interface Learned {
  readonly group: Group
  readonly scale: LearnedNumbers
  readonly zeroPoint: LearnedNumbers | number
}

/**
 * Ranges of activations that are trained with the weights: the scale as a learned step size (arXiv 1902.08153), and the
 * zero point, rounded to an integer as it will be written, as a learned offset (arXiv 2004.09576). 0 stays a value that
 * integers can say, and a Relu or Clip that quantization makes redundant stays so: its zero point does not move, and its
 * scale does not grow beyond its bounds.
 */
export function learnedRanges({ groups, type, opset, optimizer, barriers }: RangesToLearn): LearnedRanges {
  const integers = FULL_RANGE[type]
  const levels = integers.max - integers.min
  const all: Learned[] = []

  function learn(emit: Emitter, { elements, ...group }: GroupToLearn, params: AffineParams) {
    const { leader, bounds } = group
    const one = (value: number): Float32Array => Float32Array.of(value)
    const scale = emitLearned(
      emit,
      `${leader}/scale`,
      {
        dims: [],
        start: one(params.scale),
        unit: one(learningUnit(optimizer, params.scale, elements, levels)),
        low: one(params.scale * LEAST_SHARE),
        high: one(largestScale(params.zeroPoint, integers, bounds)),
      },
      barriers,
    )
    const isBound = Number.isFinite(bounds.min) || Number.isFinite(bounds.max)
    if (isBound) {
      all.push({ group, scale: scale.learned, zeroPoint: params.zeroPoint })
      return { scale: scale.value, zeroPoint: integer(emit, `${leader}/zero_point`, params.zeroPoint) }
    }
    const offset = emitLearned(
      emit,
      `${leader}/offset`,
      {
        dims: [],
        start: one(params.zeroPoint),
        // In steps, of what would be learned in real values.
        unit: one(learningUnit(optimizer, levels * params.scale, elements, levels) / params.scale),
        low: one(integers.min),
        high: one(integers.max),
      },
      barriers,
    )
    all.push({ group, scale: scale.learned, zeroPoint: offset.learned })
    return {
      scale: scale.value,
      zeroPoint: emit.add('QuantizeLinear', [offset.value, emit.scalar(1), integer(emit, `${leader}/zero`, 0)]),
    }
  }

  function integer(emit: Emitter, hint: string, value: number): string {
    const tensor =
      type === 'int8' ? int8Tensor(hint, [], Int8Array.of(value)) : uint8Tensor(hint, [], Uint8Array.of(value))
    return emit.constant(tensor)
  }

  return {
    write: (editor, leader, params, like) => {
      const group = groups.get(leader)
      if (group === undefined) return constantParams(editor, leader, params, like)
      return emitInto(editor, opset, (emit) => learn(emit, group, params))
    },
    get trainable() {
      return all.flatMap(({ scale, zeroPoint }) =>
        typeof zeroPoint === 'number' ? [scale.change] : [scale.change, zeroPoint.change],
      )
    },
    exported: (ranges, weights) => {
      const found = new Map(ranges)
      for (const { group, scale, zeroPoint } of all) {
        const [step = 1] = learnedValues(scale, weights)
        const zero =
          typeof zeroPoint === 'number' ? zeroPoint : roundHalfEven(learnedValues(zeroPoint, weights)[0] ?? 0)
        // Products of a float32 and a byte are exact: dividing the width by the levels gives the very scale back.
        const range = { min: (integers.min - zero) * step, max: (integers.max - zero) * step }
        for (const tensor of group.observe) found.set(tensor, range)
      }
      return found
    },
  }
}

/** With which every integer stands for a value within the bounds. */
function largestScale(zeroPoint: number, integers: Interval, bounds: Interval): number {
  return fitWithin({ scale: LARGEST, zeroPoint }, integers, bounds)?.scale ?? LARGEST
}

/** A range of nearly all float32. */
const LARGEST = 2 ** 100
