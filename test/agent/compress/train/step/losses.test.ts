import { describe, expect, it } from 'vitest'
import {
  emitHint,
  emitLoss,
  hintInput,
  LABELS_INPUT,
  type Loss,
  TEACHER_INPUT,
} from '../../../../../agent/compress/train/step/losses.ts'
import { randomValues } from '../../support/graphs.ts'
import { floatFeed, intFeed, runEmitted } from './support.ts'

const BATCH = 3
const CLASSES = 4
const DIMS = [BATCH, CLASSES]

function softmax(row: readonly number[], temperature = 1): number[] {
  const powers = row.map((value) => Math.exp(value / temperature))
  const sum = powers.reduce((total, value) => total + value, 0)
  return powers.map((value) => value / sum)
}

const rows = (values: ArrayLike<number>): number[][] =>
  Array.from({ length: BATCH }, (_, row) => Array.from(values).slice(row * CLASSES, (row + 1) * CLASSES))

const scores = randomValues(BATCH * CLASSES, 7, 3)
const teacher = randomValues(BATCH * CLASSES, 11, 3)
const labels = [2, 0, 3]
const numbers = randomValues(BATCH * CLASSES, 13, 2)

function crossEntropy(values: ArrayLike<number>, smoothing: number): number {
  const losses = rows(values).map((row, sample) => {
    const p = softmax(row)
    return -p.reduce((sum, value, at) => {
      const target = (at === labels[sample] ? 1 - smoothing : 0) + smoothing / CLASSES
      return sum + target * Math.log(value)
    }, 0)
  })
  return losses.reduce((sum, value) => sum + value, 0) / BATCH
}

function divergence(values: ArrayLike<number>, temperature: number): number {
  const soft = rows(teacher).map((row) => softmax(row, temperature))
  const losses = rows(values).map((row, sample) => {
    const q = softmax(row, temperature)
    return (soft[sample] ?? []).reduce((sum, p, at) => sum + p * Math.log(p / (q[at] ?? 1)), 0)
  })
  return (losses.reduce((sum, value) => sum + value, 0) / BATCH) * temperature ** 2
}

const CASES: readonly (readonly [string, Loss, (values: ArrayLike<number>) => number])[] = [
  ['cross-entropy', { kind: 'cross-entropy', labelSmoothing: 0 }, (z) => crossEntropy(z, 0)],
  ['cross-entropy, smoothed', { kind: 'cross-entropy', labelSmoothing: 0.1 }, (z) => crossEntropy(z, 0.1)],
  [
    'distillation without labels',
    { kind: 'distillation', temperature: 4, mixing: 1, labelSmoothing: 0 },
    (z) => divergence(z, 4),
  ],
  [
    'distillation with labels',
    { kind: 'distillation', temperature: 2, mixing: 0.7, labelSmoothing: 0.1 },
    (z) => 0.3 * crossEntropy(z, 0.1) + 0.7 * divergence(z, 2),
  ],
  [
    'mean squared error',
    { kind: 'mean-squared-error' },
    (z) => Array.from(z).reduce((sum, value, at) => sum + (value - (numbers[at] ?? 0)) ** 2, 0) / z.length,
  ],
]

function evaluated(loss: Loss, values: Float32Array) {
  return runEmitted(
    (emit) => {
      const emitted = emitLoss(emit, loss, { value: emit.input('scores', 'FLOAT', DIMS), dims: DIMS })
      emit.output('loss', emitted.loss, [])
      emit.output('gradient', emitted.gradient, DIMS)
    },
    {
      scores: floatFeed(DIMS, values),
      [LABELS_INPUT]: loss.kind === 'mean-squared-error' ? floatFeed(DIMS, numbers) : intFeed(labels),
      [TEACHER_INPUT]: floatFeed(DIMS, teacher),
    },
  )
}

describe('losses', () => {
  it.each(CASES)('%s is what its formula says, and so is its gradient', async (_name, loss, reference) => {
    const given = await evaluated(loss, scores)
    expect(given['loss']?.[0]).toBeCloseTo(reference(scores), 5)
    for (const at of scores.keys()) {
      const moved = (by: number): Float64Array =>
        Float64Array.from(scores, (value, k) => (k === at ? value + by : value))
      const difference = (reference(moved(1e-4)) - reference(moved(-1e-4))) / 2e-4
      expect(given['gradient']?.[at]).toBeCloseTo(difference, 5)
    }
  })

  it('takes one score a sample against yes and no, however large it is', async () => {
    const values = [-200, -1, 0, 0.5, 200]
    const answers = [1, 0, 1, 1, 1]
    const dims = [5, 1]
    const given = await runEmitted(
      (emit) => {
        const target = { value: emit.input('scores', 'FLOAT', dims), dims }
        const emitted = emitLoss(emit, { kind: 'binary-cross-entropy' }, target)
        emit.output('loss', emitted.loss, [])
        emit.output('gradient', emitted.gradient, dims)
      },
      { scores: floatFeed(dims, values), [LABELS_INPUT]: floatFeed(dims, answers) },
    )
    const losses = values.map((z, at) => Math.max(z, 0) - z * (answers[at] ?? 0) + Math.log1p(Math.exp(-Math.abs(z))))
    expect(given['loss']?.[0]).toBeCloseTo(losses.reduce((sum, value) => sum + value, 0) / 5, 4)
    for (const [at, z] of values.entries()) {
      expect(given['gradient']?.[at]).toBeCloseTo((1 / (1 + Math.exp(-z)) - (answers[at] ?? 0)) / 5, 6)
    }
  })

  it('pulls an intermediate value towards the teacher’s, by its weight', async () => {
    const given = await runEmitted(
      (emit) => {
        const value = emit.input('features', 'FLOAT', DIMS)
        const emitted = emitHint(emit, { value, weight: 0.5 }, DIMS)
        emit.output('loss', emitted.loss, [])
        emit.output('gradient', emitted.gradient, DIMS)
      },
      { features: floatFeed(DIMS, scores), [hintInput('features')]: floatFeed(DIMS, teacher) },
    )
    const differences = Array.from(scores, (value, at) => value - (teacher[at] ?? 0))
    const mean = differences.reduce((sum, value) => sum + value ** 2, 0) / differences.length
    expect(given['loss']?.[0]).toBeCloseTo(mean / 2, 5)
    expect(given['gradient']?.[5]).toBeCloseTo((differences[5] ?? 0) / differences.length, 6)
  })

  it('refuses a loss that does not fit what the model gives', async () => {
    const emitted = (loss: Loss, dims: readonly number[]) =>
      runEmitted((emit) => emitLoss(emit, loss, { value: emit.input('scores', 'FLOAT', dims), dims }), {})
    await expect(emitted({ kind: 'cross-entropy', labelSmoothing: 0 }, [3, 1])).rejects.toThrow(
      expect.objectContaining({ code: 'RECIPE_INVALID', message: expect.stringContaining('binary-cross-entropy') }),
    )
    await expect(emitted({ kind: 'binary-cross-entropy' }, [3, 2])).rejects.toThrow(
      expect.objectContaining({ code: 'RECIPE_INVALID', message: expect.stringContaining('cross-entropy') }),
    )
  })
})
