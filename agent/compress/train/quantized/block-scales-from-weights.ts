import type { BlockFormat } from '../../weight-only/quantize-blocks.ts'
import { algebra, castToFloat } from '../autodiff/rules/algebra.ts'
import { type BlockScaleWriter, emitZeroPoint } from './fake-blocks.ts'

/** Below it a block counts as zeros. */
const FLOAT32_TINY = 2 ** -126

/**
 * Scales and zero points computed from the weights in the graph, by the rule of `quantizeBlocks`. Where the exported scale
 * is negative, this one is positive and the range of integers the other way round: the real numbers are the same.
 *
 * @param barriers receives values through which no gradient is meant to flow
 */
export function blockScalesFromWeights({ bits, symmetric }: BlockFormat, barriers: Set<string>): BlockScaleWriter {
  return (emit, blocks) => {
    const { max, sub, div, neg, greater, less, where } = algebra(emit)
    const largest = max(emit.reduce('ReduceMax', blocks, [1], false), 0)
    const least = emit.add('Min', [emit.reduce('ReduceMin', blocks, [1], false), emit.scalar(0)])
    const usable = (scale: string): string => where(less(scale, FLOAT32_TINY), 1, scale)
    if (symmetric) {
      const half = 2 ** (bits - 1)
      const scale = usable(div(max(largest, neg(least)), half))
      const offset = where(greater(largest, neg(least)), half - 1, half)
      barriers.add(scale)
      return { scale, offset, zeroPoint: emitZeroPoint(emit, offset) }
    }
    const scale = usable(div(sub(largest, least), 2 ** bits - 1))
    const zeroPoint = emitZeroPoint(emit, div(neg(least), scale))
    barriers.add(scale)
    barriers.add(zeroPoint)
    return { scale, zeroPoint, offset: castToFloat(emit, zeroPoint) }
  }
}
