import { describe, expect, it } from 'vitest'
import type { TrainingPlan } from '../../../../agent/compress/train/plan.ts'
import { type Numbers, openStep } from '../../../../agent/compress/train/run-step.ts'
import { buildStep } from '../../../../agent/compress/train/step/build-step.ts'
import { trainableWeights } from '../../../../agent/compress/train/trainable.ts'
import {
  backedOff,
  looked,
  startOfTraining,
  type TrainingState,
  updated,
} from '../../../../agent/compress/train/training-state.ts'
import { portsOf, SMALL_PLAN, untrainedModel } from './support/breast-cancer-training.ts'

const ADAM = { kind: 'adam', beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0 } as const
const SPARSITY = { final: 0.5, scope: 'per-layer', risesOver: 1, everyUpdates: 2 } as const

async function started(plan: TrainingPlan) {
  const model = await untrainedModel()
  const step = buildStep({ ...plan, model, trainable: trainableWeights(model, plan.trainable) })
  return { step, start: await startOfTraining(model, step, plan, () => Promise.resolve(0.5)) }
}

const zerosOf = (numbers: Numbers, name: string) => numbers.get(name)?.filter((value) => value === 0).length ?? 0

describe('backing off', () => {
  it('starts the optimizer again as at the very beginning', async () => {
    const plan = { ...SMALL_PLAN, optimizer: ADAM }
    const { step, start } = await started(plan)
    const runner = await openStep(step, plan, await portsOf())
    const next = (state: TrainingState) =>
      runner.update(state.carried, [Array.from({ length: plan.batch }, (_, at) => at)], {
        updateOfOptimizer: state.updatesOfOptimizer + 1,
        rate: 0.01,
      })
    try {
      const first = await next(start)
      const later = updated({ ...start, updatesOfOptimizer: 9 }, 10, first.carried, step, plan)
      expect(later.updatesOfOptimizer).toBe(10)
      const back = backedOff(later, 11, 'it rose', step, plan)
      expect((await next(back)).carried).toEqual(first.carried)
    } finally {
      await runner.release()
    }
  })

  it('does not lose the sparsity that was due with the update', async () => {
    const plan = { ...SMALL_PLAN, updates: 4, sparsity: SPARSITY }
    const { step, start } = await started(plan)
    const [{ name, dims } = { name: '', dims: [] }] = step.trained.filter(({ decays }) => decays)
    const half = dims.reduce((product, dim) => product * dim, 1) / 2
    const last = backedOff(start, 4, 'it rose', step, plan)
    expect(zerosOf(last.carried, name)).toBe(half)
    // Weights that were masked before the last share was due get it with the next update, whichever that is.
    const late = updated({ ...start, update: 4, maskedShare: 0.1 }, 5, start.carried, step, plan)
    expect(zerosOf(late.carried, name)).toBe(half)
  })
})

describe('a look at the tuning split', () => {
  it('keeps the best weights, of equals the later, and under penalties the last', async () => {
    const pressed: TrainingPlan = { ...SMALL_PLAN, penalties: [{ kind: 'l1', strength: 0.1 }] }
    const { start } = await started(SMALL_PLAN)
    const worse = { update: 10, loss: 1, score: 0.4 }
    const weights = new Map([['w', Float32Array.of(0)]])
    expect(looked(start, SMALL_PLAN, weights, worse)).toMatchObject({ best: start.best, looksWithoutBetter: 1 })
    const better = looked(start, SMALL_PLAN, weights, { ...worse, score: 0.6 })
    const later = new Map([['w', Float32Array.of(1)]])
    expect(looked(better, SMALL_PLAN, later, { update: 20, loss: 1, score: 0.6 })).toMatchObject({
      best: { update: 20, weights: later },
      looksWithoutBetter: 1,
    })
    // What is no better than what was given is not taken for it.
    expect(looked(start, SMALL_PLAN, weights, { ...worse, score: 0.5 }).best).toEqual(start.best)
    expect(looked(start, pressed, weights, worse)).toMatchObject({
      best: { update: 10, score: 0.4, weights },
      looksWithoutBetter: 0,
    })
  })
})
