import {
  asFloat32,
  elementCount,
  floatTensor,
  type GraphEditor,
  int64Tensor,
  node,
  type Tensor,
} from '@edgefit/shared/onnx'
import { weightsKey } from '../../quantize-static/insert-qdq.ts'
import type { Numbers } from '../run-step.ts'
import type { Optimizer } from '../step/optimizers.ts'
import type { TrainableWeight } from '../trainable.ts'
import type { ScaleWriter, WeightsToScale } from './fake-quantize.ts'
import { addLearned, type LearnedNumbers, learnedValues, learningUnit } from './learned-numbers.ts'
import { leastErrorScales } from './starting-scales.ts'

/** How far a scale may shrink: a step too long must not make it vanish. */
const LEAST_SHARE = 1 / 64

export interface LearnedScales {
  /** For weights that `learns` is true for. */
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
    write: (editor, scaled) => {
      const { layer, axis, levels, floors } = scaled
      const { weights } = layer
      const start = leastErrorScales(weights, axis, levels).map((scale, at) => Math.max(scale, floors[at] ?? 0))
      const elements = elementCount(weights.dims) / start.length
      const { value, learned } = addLearned(
        editor,
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
      return { scale: value, weights: addHeld(editor, weights, value, { axis, levels }) }
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

/** Beyond the last integer, and not so far that it would round to another: the same in the graph and at export. */
const MARGIN = 0.49

/** Weights cut off where the integers end: a weight beyond moves the scale, and the scale alone. */
function addHeld(
  editor: GraphEditor,
  { name, dims }: Tensor,
  scale: string,
  { axis, levels }: { readonly axis: number | undefined; readonly levels: number },
): string {
  const made = (opType: string, hint: string, ...inputs: readonly string[]): string => {
    const output = editor.freshName(`${name}/${hint}`)
    editor.add(node({ opType, inputs, outputs: [output] }))
    return output
  }
  const most = editor.freshName(`${name}/most`)
  editor.setInitializer(floatTensor(most, [], Float32Array.of(levels + MARGIN)))
  const shape = editor.freshName(`${name}/scale_shape`)
  const shapeDims = axis === undefined ? [] : dims.map((length, at) => (at === axis ? length : 1))
  editor.setInitializer(int64Tensor(shape, [shapeDims.length], shapeDims))
  const end = made('Reshape', 'end', made('Mul', 'limit', scale, most), shape)
  return made('Max', 'held', made('Min', 'below', name, end), made('Neg', 'other_end', end))
}

/** Weights that round to the same integers, and none of which reaches the last one: the scale can stay as it is. */
function heldWithin(
  values: Float32Array,
  dims: readonly number[],
  { axis, levels, scales }: { axis: number | undefined; levels: number; scales: Float32Array },
): Float32Array {
  const inner = axis === undefined ? values.length : elementCount(dims.slice(axis + 1))
  return values.map((value, index) => {
    const most = (levels - MARGIN / 2) * (scales[Math.floor(index / inner) % scales.length] ?? 0)
    return Math.min(most, Math.max(-most, value))
  })
}
