import type { Training } from '@edgefit/shared/model'
import { elementCount } from '@edgefit/shared/onnx'
import type { StepEmitter } from './step-emitter.ts'

export type Optimizer = Training['optimizer']

const LEARNING_RATE_INPUT = 'train/learningRate'
const MEAN_CORRECTION_INPUT = 'train/meanCorrection'
const VARIANCE_CORRECTION_INPUT = 'train/varianceCorrection'

/** Numbers to feed with update `update`, which counts from 1 since what the optimizer keeps was zero. */
export function optimizerScalars(
  optimizer: Optimizer,
  update: number,
  learningRate: number,
): Readonly<Record<string, number>> {
  if (optimizer.kind === 'sgd') return { [LEARNING_RATE_INPUT]: learningRate }
  return {
    [LEARNING_RATE_INPUT]: learningRate,
    [MEAN_CORRECTION_INPUT]: 1 / (1 - optimizer.beta1 ** update),
    [VARIANCE_CORRECTION_INPUT]: 1 / (1 - optimizer.beta2 ** update),
  }
}

export interface UpdatedWeight {
  readonly name: string
  readonly dims: readonly number[]
  readonly gradient: string
  /** Whether weight decay is meant for it. */
  readonly decays: boolean
}

export interface EmittedUpdate {
  /** The new weight. */
  readonly weight: string
  /** What the optimizer keeps for the weight, by its carried name, with its new value. All are zero at first. */
  readonly state: ReadonlyMap<string, string>
}

/**
 * Emits one update of one weight.
 *
 * SGD with momentum: m' = μm + g, w' = w - ηm'. Adam (arXiv 1412.6980, algorithm 1): m' = β₁m + (1 - β₁)g,
 * v' = β₂v + (1 - β₂)g², w' = w - η m̂ / (√v̂ + ε).
 */
export function emitUpdate(emit: StepEmitter, optimizer: Optimizer, weight: UpdatedWeight): EmittedUpdate {
  const { name, dims } = weight
  const { flat, shaped } = flattening(emit, dims)
  const before = flat(name)
  const gradient = flat(weight.gradient)
  const decay = weight.decays ? optimizer.weightDecay : 0
  const rate = emit.input(LEARNING_RATE_INPUT, 'FLOAT', [])
  const moved = (direction: string): string => shaped(emit.add('Sub', [before, emit.add('Mul', [direction, rate])]))
  const withDecay = (value: string): string => (decay === 0 ? value : sum(emit, value, times(emit, before, decay)))

  if (optimizer.kind === 'sgd') {
    const pull = withDecay(gradient)
    if (optimizer.momentum === 0) return { weight: moved(pull), state: new Map() }
    const momentumBefore = emit.carried(`momentum/${name}`, dims)
    const momentum = sum(emit, times(emit, flat(momentumBefore), optimizer.momentum), pull)
    return { weight: moved(momentum), state: new Map([[momentumBefore, shaped(momentum)]]) }
  }
  const { beta1, beta2, epsilon } = optimizer
  const pull = optimizer.kind === 'adam' ? withDecay(gradient) : gradient
  const meanBefore = emit.carried(`mean/${name}`, dims)
  const varianceBefore = emit.carried(`variance/${name}`, dims)
  const mean = sum(emit, times(emit, flat(meanBefore), beta1), times(emit, pull, 1 - beta1))
  const square = emit.add('Mul', [pull, pull])
  const variance = sum(emit, times(emit, flat(varianceBefore), beta2), times(emit, square, 1 - beta2))
  const meanCorrection = emit.input(MEAN_CORRECTION_INPUT, 'FLOAT', [])
  const varianceCorrection = emit.input(VARIANCE_CORRECTION_INPUT, 'FLOAT', [])
  const deviation = emit.add('Sqrt', [emit.add('Mul', [variance, varianceCorrection])])
  const direction = emit.add('Div', [
    emit.add('Mul', [mean, meanCorrection]),
    sum(emit, deviation, emit.scalar(epsilon)),
  ])
  return {
    weight: moved(optimizer.kind === 'adamw' ? withDecay(direction) : direction),
    state: new Map([
      [meanBefore, shaped(mean)],
      [varianceBefore, shaped(variance)],
    ]),
  }
}

/**
 * Emits how far a gradient of 1 that lasts moves a weight in one update: float32 of shape []. Adam's own length is the
 * rate whatever the gradient: what is apart from the gradient, as AdamW's decay is, goes by the rate.
 */
export function emitReach(emit: StepEmitter, optimizer: Optimizer): string {
  const rate = emit.input(LEARNING_RATE_INPUT, 'FLOAT', [])
  return optimizer.kind === 'sgd' ? times(emit, rate, 1 / (1 - optimizer.momentum)) : rate
}

/** The runtime multiplies [n, m, 1, 1] by a single number element by element, fifteen times slower than a flat value. */
function flattening(emit: StepEmitter, dims: readonly number[]) {
  const slow = dims.length > 1 && dims.at(-1) === 1
  const as = (shape: readonly number[]) => (value: string) => (slow ? emit.reshape(value, shape) : value)
  return { flat: as([elementCount(dims)]), shaped: as(dims) }
}

function times(emit: StepEmitter, value: string, factor: number): string {
  return emit.add('Mul', [value, emit.scalar(factor)])
}

function sum(emit: StepEmitter, a: string, b: string): string {
  return emit.add('Add', [a, b])
}
