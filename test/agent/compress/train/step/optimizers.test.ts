import { describe, expect, it } from 'vitest'
import { emitUpdate, type Optimizer, optimizerScalars } from '../../../../../agent/compress/train/step/optimizers.ts'
import { nextOf } from '../../../../../agent/compress/train/step/step-emitter.ts'
import { randomValues } from '../../support/graphs.ts'
import { floatFeed, runEmitted } from './support.ts'

const DIMS = [2, 3]
const RATE = 0.1

interface Reference {
  weight: number
  first: number
  second: number
}

/** One element by the published formulas, in double precision. */
function reference(optimizer: Optimizer, decays: boolean, { weight, first, second }: Reference, g: number, t: number) {
  const decay = decays ? optimizer.weightDecay : 0
  if (optimizer.kind === 'sgd') {
    const momentum = optimizer.momentum * first + g + decay * weight
    return { weight: weight - RATE * momentum, first: momentum, second }
  }
  const { beta1, beta2, epsilon } = optimizer
  const pull = optimizer.kind === 'adam' ? g + decay * weight : g
  const mean = beta1 * first + (1 - beta1) * pull
  const variance = beta2 * second + (1 - beta2) * pull * pull
  const step = mean / (1 - beta1 ** t) / (Math.sqrt(variance / (1 - beta2 ** t)) + epsilon)
  const apart = optimizer.kind === 'adamw' ? decay * weight : 0
  return { weight: weight - RATE * (step + apart), first: mean, second: variance }
}

const ADAM = { beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0.05 }
const CASES: readonly (readonly [string, Optimizer, boolean])[] = [
  ['plain descent', { kind: 'sgd', momentum: 0, weightDecay: 0 }, true],
  ['momentum and decay', { kind: 'sgd', momentum: 0.9, weightDecay: 0.01 }, true],
  ['momentum, decay not meant for it', { kind: 'sgd', momentum: 0.9, weightDecay: 0.01 }, false],
  ['Adam', { kind: 'adam', ...ADAM }, true],
  ['AdamW', { kind: 'adamw', ...ADAM }, true],
]

describe('optimizers', () => {
  it.each(CASES)('%s follows its formula over three updates', async (_name, optimizer, decays) => {
    const values = randomValues(6, 3)
    let expected = Array.from(values, (weight) => ({ weight, first: 0, second: 0 }))
    let feeds: Record<string, ReturnType<typeof floatFeed>> = { w: floatFeed(DIMS, values) }
    for (const name of ['momentum', 'mean', 'variance']) feeds[`${name}/w`] = floatFeed(DIMS, new Float32Array(6))
    for (const update of [1, 2, 3]) {
      const gradient = randomValues(6, 10 + update)
      const given = await runEmitted(
        (emit) => {
          emit.carried('w', DIMS)
          const weight = { name: 'w', dims: DIMS, gradient: emit.input('g', 'FLOAT', DIMS), decays }
          const emitted = emitUpdate(emit, optimizer, weight)
          emit.carry('w', emitted.weight)
          for (const [name, value] of emitted.state) emit.carry(name, value)
        },
        {
          ...feeds,
          g: floatFeed(DIMS, gradient),
          ...Object.fromEntries(
            Object.entries(optimizerScalars(optimizer, update, RATE)).map(([name, value]) => [
              name,
              floatFeed([], [value]),
            ]),
          ),
        },
      )
      expected = expected.map((before, at) => reference(optimizer, decays, before, gradient[at] ?? 0, update))
      for (const [at, { weight }] of expected.entries()) expect(given[nextOf('w')]?.[at]).toBeCloseTo(weight, 5)
      feeds = Object.fromEntries(
        Object.keys(feeds).map((name) => [name, floatFeed(DIMS, given[nextOf(name)] ?? new Float32Array(6))]),
      )
    }
  })
})
