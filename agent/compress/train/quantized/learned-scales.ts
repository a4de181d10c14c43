import { asFloat32, elementCount, type Tensor } from '@edgefit/shared/onnx'
import { weightsKey } from '../../quantize-static/insert-qdq.ts'
import type { Emitter } from '../autodiff/emitter.ts'
import { algebra } from '../autodiff/rules/algebra.ts'
import type { Numbers } from '../run-step.ts'
import type { Optimizer } from '../step/optimizers.ts'
import type { TrainableWeight } from '../trainable.ts'
import type { ScaleWriter, WeightsToScale } from './fake-quantize.ts'
import { emitLearned, type LearnedNumbers, learnedValues, learningUnit } from './learned-numbers.ts'
import { leastErrorScales } from './starting-scales.ts'

/** How far a scale may shrink: a step too long must not make it vanish. */
const LEAST_SHARE = 1 / 64

export interface LearnedScales {
  readonly write: ScaleWriter
  readonly trainable: readonly TrainableWeight[]
  /** The scales by {@link weightsKey}, and the weights that need no larger ones: both are to be exported. */
  exported(weights: Numbers): { readonly scales: ReadonlyMap<string, Float32Array>; readonly weights: Numbers }
}

interface Learned {
  readonly scaled: WeightsToScale
  readonly numbers: LearnedNumbers
}

/** Scales of weights that are trained with them: a learned step size (Esser et al., arXiv 1902.08153). */
export function learnedScales(optimizer: Optimizer['kind'], barriers: Set<string>): LearnedScales {
  const all: Learned[] = []
  return {
    write: (emit, scaled) => {
      const { layer, axis, levels, floors } = scaled
      const { weights } = layer
      const start = startingScales(scaled).map((scale, at) => Math.max(scale, floors[at] ?? 0))
      const elements = elementCount(weights.dims) / start.length
      const { value, learned } = emitLearned(
        emit,
        `${weights.name}/scale`,
        {
          dims: axis === undefined ? [] : [start.length],
          start,
          unit: start.map((scale) => learningUnit(optimizer, scale, elements, levels)),
          low: start.map((scale, at) => Math.max(scale * LEAST_SHARE, floors[at] ?? 0)),
          high: start.map(() => Number.POSITIVE_INFINITY),
        },
        barriers,
      )
      all.push({ scaled, numbers: learned })
      return { scale: value, weights: emitHeld(emit, weights, value, { axis, levels }) }
    },
    get trainable() {
      return all.map(({ numbers }) => numbers.change)
    },
    exported: (given) => {
      const scales = new Map<string, Float32Array>()
      const weights = new Map(given)
      for (const { scaled, numbers } of all) {
        const { layer, axis, levels } = scaled
        const own = learnedValues(numbers, given)
        scales.set(weightsKey(layer), own)
        const { name, dims } = layer.weights
        weights.set(
          name,
          heldWithin(weights.get(name) ?? asFloat32(layer.weights), dims, { axis, levels, scales: own }),
        )
      }
      return { scales, weights }
    },
  }
}

function startingScales({ layer: { weights }, axis, levels }: WeightsToScale): Float32Array {
  const values = asFloat32(weights)
  const scaleOf = entryOf(weights.dims, axis)
  const covering = new Float32Array(axis === undefined ? 1 : (weights.dims[axis] ?? 1))
  for (const [index, value] of values.entries()) {
    const at = scaleOf(index)
    covering[at] = Math.max(covering[at] ?? 0, Math.abs(value) / levels)
  }
  return leastErrorScales({ values, scaleOf, covering, integers: () => ({ min: -levels, max: levels }) })
}

/** Place of an element in the entries of `axis`; 0 without one. */
function entryOf(dims: readonly number[], axis: number | undefined): (index: number) => number {
  if (axis === undefined) return () => 0
  const inner = elementCount(dims.slice(axis + 1))
  const entries = dims[axis] ?? 1
  return (index) => Math.floor(index / inner) % entries
}

/** Beyond the last integer, and not so far that it would round to another: the same in the graph and at export. */
const MARGIN = 0.49

/** Weights cut off where the integers end: a weight beyond moves the scale, and the scale alone. */
function emitHeld(
  emit: Emitter,
  { name, dims }: Tensor,
  scale: string,
  { axis, levels }: { readonly axis: number | undefined; readonly levels: number },
): string {
  const { mul, neg, max } = algebra(emit)
  const limit = mul(scale, levels + MARGIN)
  const shape = dims.map((length, at) => (at === axis ? length : 1))
  const end = axis === undefined ? limit : emit.reshape(limit, shape)
  return max(emit.add('Min', [name, end]), neg(end))
}

/** Weights that round to the same integers, and none of which reaches the last one: the scale can stay as it is. */
function heldWithin(
  values: Float32Array,
  dims: readonly number[],
  { axis, levels, scales }: { axis: number | undefined; levels: number; scales: Float32Array },
): Float32Array {
  const scaleOf = entryOf(dims, axis)
  return values.map((value, index) => {
    const most = (levels - MARGIN / 2) * (scales[scaleOf(index)] ?? 0)
    return Math.min(most, Math.max(-most, value))
  })
}
