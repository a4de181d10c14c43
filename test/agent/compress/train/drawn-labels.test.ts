import { floatTensor, type Model } from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import { drawnLabels } from '../../../../agent/compress/train/drawn-labels.ts'
import type { Loss } from '../../../../agent/compress/train/step/losses.ts'
import { modelOf, op } from '../support/graphs.ts'
import { openSession } from '../support/runtime.ts'

const DRAWS = 4000

/** Says the same of every sample. */
function saying(scores: readonly number[]): Model {
  return modelOf({
    inputs: { x: ['n', 1] },
    outputs: ['p'],
    nodes: [op('MatMul', 'x w -> y'), op(scores.length === 1 ? 'Sigmoid' : 'Softmax', 'y -> p')],
    constants: [floatTensor('w', [1, scores.length], Float32Array.from(scores))],
  })
}

async function drawn(model: Model, loss: Loss): Promise<readonly number[]> {
  const feeds = (indices: readonly number[]) =>
    Promise.resolve({
      x: { type: 'float32', dims: [indices.length, 1], data: new Float32Array(indices.length).fill(1) } as const,
    })
  const data = { count: DRAWS, hasLabels: false, feeds, labels: () => Promise.resolve(new Float64Array()) }
  const labels = await drawnLabels(model, { data, loss, openSession, threads: 1 })
  try {
    expect(labels.data.hasLabels).toBe(true)
    return [...(await labels.data.labels(Array.from({ length: DRAWS }, (_, at) => at)))]
  } finally {
    await labels.release()
  }
}

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length

describe('labels drawn from what a model says', () => {
  it('are classes as often as it thinks them likely', async () => {
    const labels = await drawn(saying([Math.log(0.6), Math.log(0.3), Math.log(0.1)]), {
      kind: 'cross-entropy',
      labelSmoothing: 0,
    })
    const shares = [0, 1, 2].map((wanted) => mean(labels.map((label) => (label === wanted ? 1 : 0))))
    expect(shares.map((share, at) => Math.abs(share - ([0.6, 0.3, 0.1][at] ?? 0)) < 0.03)).toEqual([true, true, true])
  })

  it('are 0 or 1 for one score', async () => {
    const labels = await drawn(saying([Math.log(0.8 / 0.2)]), { kind: 'binary-cross-entropy' })
    expect(new Set(labels)).toEqual(new Set([0, 1]))
    expect(Math.abs(mean(labels) - 0.8)).toBeLessThan(0.03)
  })

  it('lie about the answer, one wide, for numbers', async () => {
    const labels = await drawn(saying([5, 5]), { kind: 'mean-squared-error' })
    expect(labels).toHaveLength(2 * DRAWS)
    // The answer is what is given out: a half each.
    expect(Math.abs(mean(labels) - 0.5)).toBeLessThan(0.05)
    expect(Math.abs(mean(labels.map((label) => (label - 0.5) ** 2)) - 1)).toBeLessThan(0.07)
  })

  it('are the same again', async () => {
    const loss = { kind: 'cross-entropy', labelSmoothing: 0 } as const
    expect(await drawn(saying([1, 2, 3]), loss)).toEqual(await drawn(saying([1, 2, 3]), loss))
  })
})
