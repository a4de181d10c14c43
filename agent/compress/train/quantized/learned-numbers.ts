import { floatTensor } from '@edgefit/shared/onnx'
import type { Emitter } from '../autodiff/emitter.ts'
import type { Numbers } from '../run-step.ts'
import type { Optimizer } from '../step/optimizers.ts'
import type { TrainableWeight } from '../trainable.ts'

/** Numbers beside the weights that training moves: `start + unit · change`, held within bounds. */
export interface LearnedNumbers {
  /** The initializer that is trained: zeros at first. */
  readonly change: TrainableWeight
  readonly start: Float32Array
  readonly unit: Float32Array
  readonly low: Float32Array
  readonly high: Float32Array
}

interface NumbersToLearn extends Omit<LearnedNumbers, 'change'> {
  readonly dims: readonly number[]
}

/**
 * Emits numbers to learn; the name of their value. A number at a bound gets the gradient it would have inside, so that it
 * can come back.
 *
 * @param barriers receives values through which no gradient is meant to flow
 */
export function emitLearned(
  emit: Emitter,
  hint: string,
  { dims, start, unit, low, high }: NumbersToLearn,
  barriers: Set<string>,
): { readonly value: string; readonly learned: LearnedNumbers } {
  const constant = (name: string, values: Float32Array): string =>
    emit.constant(floatTensor(`${hint}/${name}`, dims, values))
  const change = constant('change', new Float32Array(start.length))
  const free = emit.add('Add', [constant('start', start), emit.add('Mul', [change, constant('unit', unit)])])
  const held = emit.add('Min', [emit.add('Max', [free, constant('low', low)]), constant('high', high)])
  const copy = emit.add('Identity', [free])
  barriers.add(held)
  barriers.add(copy)
  return {
    // The difference is zero, and its gradient is not.
    value: emit.add('Add', [held, emit.add('Sub', [free, copy])]),
    learned: { change: { name: change, dims, decays: false, channelAxis: 0 }, start, unit, low, high },
  }
}

/** What the numbers are once `change` is among `weights`: bit for bit what the graph computes. */
export function learnedValues({ change, start, unit, low, high }: LearnedNumbers, weights: Numbers): Float32Array {
  const changes = weights.get(change.name)
  return start.map((from, at) => {
    const free = Math.fround(from + Math.fround((changes?.[at] ?? 0) * (unit[at] ?? 0)))
    return Math.min(Math.max(free, low[at] ?? free), high[at] ?? free)
  })
}

/**
 * In which unit numbers of the size `start` are learned.
 *
 * SGD then moves them as a learned step size (Esser et al., arXiv 1902.08153), whose gradient is divided by
 * √(elements · levels): a unit counts twice, in the gradient and in the step. Adam, which divides gradients by their size,
 * moves everything by about its rate, and so moves them by that share of themselves.
 *
 * @param size what the numbers are measured in: their own real value where they are scales
 * @param elements how many are quantized with one number
 */
export function learningUnit(optimizer: Optimizer['kind'], size: number, elements: number, levels: number): number {
  return optimizer === 'sgd' ? (elements * levels) ** -0.25 : size
}
