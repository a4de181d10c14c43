import { intsValue, type Model } from '@edgefit/shared/onnx'
import type { TrainingContext, TrainingPort } from '../../../../../agent/compress/train/apply-training.ts'
import { modelOf, op, randomTensor, randomValues } from '../../support/graphs.ts'
import { openSession } from '../../support/runtime.ts'

/** Samples to train with. */
export const COUNT = 8
const pads = intsValue([1, 1, 1, 1])
/** A stem of few inputs, two layers behind it, and a bias that hides behind an Identity. */
export const NETWORK: Model = modelOf({
  inputs: { x: ['n', 3, 6, 6] },
  outputs: ['y'],
  nodes: [
    op('Identity', 'bias -> hidden'),
    op('Conv', 'x stem hidden -> a', { pads }),
    op('Relu', 'a -> b'),
    op('Conv', 'b w -> c', { pads }),
    op('Relu', 'c -> d'),
    op('GlobalAveragePool', 'd -> e'),
    op('Flatten', 'e -> f'),
    op('Gemm', 'f g -> y'),
  ],
  constants: [
    randomTensor('stem', [8, 3, 3, 3], 1, 0.3),
    randomTensor('bias', [8], 2, 0.3),
    randomTensor('w', [8, 8, 3, 3], 3, 0.3),
    randomTensor('g', [8, 2], 4),
  ],
})

export const feeds = (indices: readonly number[]) => {
  const data = Float32Array.from(indices.flatMap((index) => [...randomValues(108, index + 1)]))
  return Promise.resolve({ x: { type: 'float32', dims: [indices.length, 3, 6, 6], data } as const })
}

/** To train {@link NETWORK} with noise. Weights of later updates count as better. */
export function contextOf(
  port: Partial<TrainingPort> & Pick<TrainingPort, 'scratchPath'>,
  more: Partial<TrainingContext> = {},
): TrainingContext {
  let score = 0
  return {
    port: {
      data: {
        count: COUNT,
        hasLabels: true,
        feeds,
        labels: (indices) => Promise.resolve(Float64Array.from(indices, (index) => index % 2)),
      },
      judge: () => {
        score += 1
        return Promise.resolve(score)
      },
      dataKey: 'data',
      monotonicNow: () => 0,
      ...port,
    },
    teacher: NETWORK,
    openSession,
    threads: 1,
    onProgress: () => undefined,
    signal: new AbortController().signal,
    ...more,
  }
}
