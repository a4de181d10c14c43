import { asFloat32, floatTensor, uint8Tensor } from '@edgefit/shared/onnx'
import { roundHalfEven } from '../../affine.ts'
import { type BlockFormat, type BlockwiseWeights, quantizeBlocks } from '../../weight-only/quantize-blocks.ts'
import type { BlockwiseLayer } from '../../weight-only/weight-only.ts'
import type { Numbers } from '../run-step.ts'
import type { Optimizer } from '../step/optimizers.ts'
import type { TrainableWeight } from '../trainable.ts'
import { type BlockScaleWriter, blocksKey, extentOf } from './fake-blocks.ts'
import { emitLearned, type LearnedNumbers, learnedValues, learningUnit } from './learned-numbers.ts'
import { leastErrorScales } from './starting-scales.ts'

/** How far a scale may shrink: a step too long must not make it vanish. */
const LEAST_SHARE = 1 / 64

export interface LearnedBlockScales {
  readonly write: BlockScaleWriter
  readonly trainable: readonly TrainableWeight[]
  /** The blocks of a layer's trained weights, by the scales that were trained with them. Undefined where none were. */
  blocksOf(layer: BlockwiseLayer, weights: Numbers): BlockwiseWeights | undefined
}

interface Learned {
  readonly numbers: LearnedNumbers
  /** Of each block: the integer that stands for 0. */
  readonly offsets: Uint8Array
  /** Of each block: whether it is exported with a negative scale, which the symmetric form wants for its zero point. */
  readonly isMirrored: (block: number) => boolean
}

/** Scales of blocks that are trained with the weights: a learned step size (arXiv 1902.08153). Zero points stay. */
export function learnedBlockScales(
  optimizer: Optimizer['kind'],
  format: BlockFormat,
  barriers: Set<string>,
): LearnedBlockScales {
  const { bits, blockSize, symmetric } = format
  const largest = 2 ** bits - 1
  const half = 2 ** (bits - 1)
  const all = new Map<string, Learned>()
  return {
    write: (emit, _, layer) => {
      const { inputs } = extentOf(layer)
      const first = quantizeBlocks(layer.weights, layer.outputAxis, format)
      const isMirrored = (block: number): boolean => symmetric && (first.scales[block] ?? 0) < 0
      const offsets = first.zeroPoints.map((zeroPoint, block) => (isMirrored(block) ? half - 1 : zeroPoint))
      const start = leastErrorScales({
        values: byOutput(layer),
        scaleOf: blockOf(inputs, first.blocks, blockSize),
        covering: first.scales.map(Math.abs),
        integers: (block) => ({ min: -(offsets[block] ?? 0), max: largest - (offsets[block] ?? 0) }),
      })
      const dims = [start.length]
      const hint = `${layer.weights.name}/scale`
      const { value, learned } = emitLearned(
        emit,
        hint,
        {
          dims,
          start,
          unit: start.map((scale) => learningUnit(optimizer, scale, blockSize, half - 1)),
          low: start.map((scale) => scale * LEAST_SHARE),
          high: start.map(() => Number.POSITIVE_INFINITY),
        },
        barriers,
      )
      all.set(blocksKey(layer), { numbers: learned, offsets, isMirrored })
      return {
        scale: value,
        zeroPoint: emit.constant(uint8Tensor(`${hint}/zero_point`, dims, offsets)),
        offset: emit.constant(floatTensor(`${hint}/offset`, dims, Float32Array.from(offsets))),
      }
    },
    get trainable() {
      return [...all.values()].map(({ numbers }) => numbers.change)
    },
    blocksOf: (layer, weights) => {
      const found = all.get(blocksKey(layer))
      if (found === undefined) return undefined
      const { inputs, outputs } = extentOf(layer)
      const blocks = Math.ceil(inputs / blockSize)
      const blockAt = blockOf(inputs, blocks, blockSize)
      const scales = learnedValues(found.numbers, weights).map((scale, block) =>
        found.isMirrored(block) ? -scale : scale,
      )
      const zeroPoints = found.offsets.map((offset) => (symmetric ? half : offset))
      const values = Uint8Array.from(byOutput(layer), (weight, index) => {
        const block = blockAt(index)
        const step = roundHalfEven(Math.fround(weight / (scales[block] ?? 1))) + (zeroPoints[block] ?? 0)
        return Math.min(largest, Math.max(0, step))
      })
      return { inputs, outputs, blocks, values, scales, zeroPoints }
    },
  }
}

/** [outputs, inputs], row-major. */
function byOutput(layer: BlockwiseLayer): Float32Array {
  const values = asFloat32(layer.weights)
  if (layer.outputAxis === 0) return values
  const { inputs, outputs } = extentOf(layer)
  return Float32Array.from(values, (_, index) => values[(index % inputs) * outputs + Math.floor(index / inputs)] ?? 0)
}

function blockOf(inputs: number, blocks: number, blockSize: number): (index: number) => number {
  return (index) => Math.floor(index / inputs) * blocks + Math.floor((index % inputs) / blockSize)
}
