import { editGraph, encodeModel, type Model } from '@edgefit/shared/onnx'
import { normalQuantile, seededRandom } from '@edgefit/shared/stats'
import type { OpenSession } from '../runtime-port.ts'
import { scoresOf } from './step/build-step.ts'
import type { Loss } from './step/losses.ts'
import type { TrainingData } from './training-data.ts'

export interface DrawnLabels {
  readonly data: TrainingData
  release(): Promise<void>
}

export interface DrawOptions {
  readonly data: TrainingData
  readonly loss: Loss
  readonly openSession: OpenSession
  readonly threads: number
}

/**
 * Samples with labels drawn from what `model` says of them, each time anew: the squares of gradients by such labels are,
 * in the mean, those of its Fisher information. The answers themselves would give no gradient at all.
 */
export async function drawnLabels(
  model: Model,
  { data, loss, openSession, threads }: DrawOptions,
): Promise<DrawnLabels> {
  const scores = scoresOf(model.graph, loss)
  const editor = editGraph({ ...model.graph, outputs: [{ name: scores }] })
  editor.prune()
  const bytes = encodeModel({ ...model, graph: editor.build() })
  const session = await openSession(bytes, { graphOptimization: 'all', threads })
  const random = seededRandom(0)
  /** Strictly between 0 and 1. */
  const uniform = (): number => Math.min(1 - EDGE, Math.max(EDGE, random()))
  return {
    data: {
      ...data,
      hasLabels: true,
      async labels(indices) {
        const values = Float64Array.from((await session.run(await data.feeds(indices)))[scores]?.data ?? [], Number)
        switch (loss.kind) {
          case 'binary-cross-entropy':
            return values.map((score) => (uniform() < 1 / (1 + Math.exp(-score)) ? 1 : 0))
          case 'mean-squared-error':
            return values.map((score) => score + normalQuantile(uniform()))
          case 'cross-entropy':
          case 'distillation':
            return drawnClasses(values, indices.length, uniform)
        }
      },
    },
    release: () => session.release(),
  }
}

const EDGE = 1e-12

/** The largest of scores with Gumbel noise is a draw from their softmax. */
function drawnClasses(scores: Float64Array, samples: number, uniform: () => number): Float64Array {
  const classes = scores.length / samples
  return Float64Array.from({ length: samples }, (_, sample) => {
    const noisy = scores
      .subarray(sample * classes, (sample + 1) * classes)
      .map((score) => score - Math.log(-Math.log(uniform())))
    return noisy.indexOf(Math.max(...noisy))
  })
}
