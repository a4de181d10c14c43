import { describe, expect, it } from 'vitest'
import { withRemovableChannels } from '../../../../../agent/compress/train/removable-channels.ts'
import { type Numbers, openStep } from '../../../../../agent/compress/train/run-step.ts'
import { buildStep } from '../../../../../agent/compress/train/step/build-step.ts'
import type { Optimizer } from '../../../../../agent/compress/train/step/optimizers.ts'
import type { Penalty } from '../../../../../agent/compress/train/step/penalties.ts'
import { type TrainableWeight, trainableWeights } from '../../../../../agent/compress/train/trainable.ts'
import { startOfTraining } from '../../../../../agent/compress/train/training-state.ts'
import { randomValues } from '../../support/graphs.ts'
import { float32, openSession } from '../../support/runtime.ts'
import { smallNetwork } from '../../support/small-network.ts'
import { SMALL_PLAN } from '../support/breast-cancer-training.ts'

const DIMS = [4, 8, 8]
const BATCH = 2
const RATE = 0.01
const LASSO: Penalty = { kind: 'group-lasso', strength: 0.3, spared: 0 }
const L1: Penalty = { kind: 'l1', strength: 0.3 }
const ADAPTIVE = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0 }
const MODEL = smallNetwork({ dims: ['n', ...DIMS] })
const WEIGHTS = withRemovableChannels(MODEL, trainableWeights(MODEL, { kind: 'all' }), [LASSO])

interface Settings {
  readonly optimizer: Optimizer
  readonly accumulation?: number
  readonly maxGradientNorm?: number
}

/** The weights after one update. */
async function updated(penalties: readonly Penalty[], { optimizer, accumulation = 1, ...more }: Settings) {
  const plan = { ...SMALL_PLAN, ...more, penalties: [...penalties], optimizer, accumulation, batch: BATCH }
  const step = buildStep({ ...plan, model: MODEL, trainable: WEIGHTS, loss: { kind: 'mean-squared-error' } })
  const { carried } = await startOfTraining(MODEL, step, plan, () => Promise.resolve(0))
  const runner = await openStep(step, plan, {
    data: {
      count: BATCH * accumulation,
      hasLabels: true,
      feeds: (indices) =>
        Promise.resolve({ x: float32([BATCH, ...DIMS], randomValues(BATCH * 256, 1 + (indices[0] ?? 0))) }),
      labels: () => Promise.resolve(new Float64Array(BATCH * 6)),
    },
    openSession,
    threads: 1,
  })
  try {
    const batches = Array.from({ length: accumulation }, (_, at) => [BATCH * at, BATCH * at + 1])
    return (await runner.update(carried, batches, { updateOfOptimizer: 1, rate: RATE })).carried
  } finally {
    await runner.release()
  }
}

/** Elements of all weights with the channel that each is part of. */
function elements(weights: Numbers) {
  return WEIGHTS.flatMap(({ name, dims, removable }) => {
    const inner = dims.slice((removable?.axis ?? 0) + 1).reduce((product, dim) => product * dim, 1)
    const channelOf = (at: number) => removable?.numbers[Math.floor(at / inner) % removable.numbers.length] ?? -1
    return [...(weights.get(name) ?? [])].map((value, at) => ({ value, name, channel: channelOf(at) }))
  })
}

function expectClose(actual: Numbers, expected: readonly number[]): void {
  const values = elements(actual).map(({ value }) => value)
  expect(values).toHaveLength(expected.length)
  expect(Math.max(...values.map((value, at) => Math.abs(value - (expected[at] ?? Number.NaN))))).toBeLessThan(1e-5)
}

/** Weights as an update without penalties leaves them, and a reach times a strength. */
function afterGroupLasso(moved: Numbers, threshold: number): readonly number[] {
  const all = elements(moved)
  const squares = new Map<number, { sum: number; count: number }>()
  for (const { value, channel } of all) {
    const { sum, count } = squares.get(channel) ?? { sum: 0, count: 0 }
    squares.set(channel, { sum: sum + value ** 2, count: count + 1 })
  }
  return all.map(({ value, channel }) => {
    const { sum, count } = squares.get(channel) ?? { sum: 1, count: 0 }
    return channel === -1 ? value : value * Math.max(0, 1 - (threshold * Math.sqrt(count)) / Math.sqrt(sum))
  })
}

function afterL1(moved: Numbers, threshold: number): readonly number[] {
  const decaying = new Set(WEIGHTS.filter(({ decays }: TrainableWeight) => decays).map(({ name }) => name))
  return elements(moved).map(({ value, name }) =>
    decaying.has(name) ? Math.sign(value) * Math.max(0, Math.abs(value) - threshold) : value,
  )
}

const CASES: readonly (readonly [string, Settings, number])[] = [
  ['plain descent', { optimizer: { kind: 'sgd', momentum: 0, weightDecay: 0 } }, RATE],
  [
    'momentum, which makes a lasting gradient reach further',
    { optimizer: { kind: 'sgd', momentum: 0.9, weightDecay: 0 } },
    RATE / (1 - 0.9),
  ],
  ['Adam', { optimizer: { kind: 'adam', ...ADAPTIVE } }, RATE],
  ['AdamW', { optimizer: { kind: 'adamw', ...ADAPTIVE, weightDecay: 0.1 } }, RATE],
  [
    'momentum, once in two batches',
    { optimizer: { kind: 'sgd', momentum: 0.5, weightDecay: 0 }, accumulation: 2 },
    RATE / (1 - 0.5),
  ],
  ['Adam, once in two batches', { optimizer: { kind: 'adam', ...ADAPTIVE }, accumulation: 2 }, RATE],
  [
    'gradients that are clipped, by which it is not',
    { optimizer: { kind: 'sgd', momentum: 0, weightDecay: 0 }, maxGradientNorm: 1e-3 },
    RATE,
  ],
]

describe('pressure acts on what an update makes', () => {
  it.each(CASES)('with %s', async (_, settings, reach) => {
    const moved = await updated([], settings)
    expectClose(await updated([LASSO], settings), afterGroupLasso(moved, reach * LASSO.strength))
    expectClose(await updated([L1], settings), afterL1(moved, reach * L1.strength))
  })

  it('and makes zeros, which updates alone do not', async () => {
    const settings: Settings = { optimizer: { kind: 'adam', ...ADAPTIVE } }
    const zeros = async (...penalties: readonly Penalty[]) =>
      elements(await updated(penalties, settings)).filter(({ value }) => value === 0).length
    expect(await zeros()).toBe(0)
    expect(await zeros({ ...L1, strength: 3 })).toBeGreaterThan(20)
  })
})
