import { EdgefitError } from '@edgefit/shared'
import type { Training } from '@edgefit/shared/model'
import { floatTensor, intValue } from '@edgefit/shared/onnx'
import type { StepEmitter } from './step-emitter.ts'

export type Loss = Training['loss']
export type Hint = Pick<Training['hints'][number], 'value' | 'weight'>

/** int64 class numbers, [batch]; float32 of the shape of the scores for the losses that are not about classes. */
export const LABELS_INPUT = 'train/labels'
/** The teacher's scores, [batch, classes]. */
export const TEACHER_INPUT = 'train/teacher'
export const hintInput = (value: string): string => `train/hint/${value}`

export interface EmittedLoss {
  /** Name of the loss, a float32 of shape []. */
  readonly loss: string
  /** Name of the value it looks at, and its shape. */
  readonly value: string
  readonly dims: readonly number[]
  /** Name of the loss's gradient with respect to that value. */
  readonly gradient: string
}

interface LossTarget {
  /** Scores before Softmax or Sigmoid. */
  readonly value: string
  /** [batch, ...]. */
  readonly dims: readonly number[]
}

/**
 * Emits a loss, its gradient, and the inputs that it is computed from.
 *
 * @throws EdgefitError RECIPE_INVALID when the loss does not fit the shape of what it looks at.
 */
export function emitLoss(emit: StepEmitter, loss: Loss, { value, dims }: LossTarget): EmittedLoss {
  switch (loss.kind) {
    case 'cross-entropy':
      return { value, dims, ...crossEntropy(emit, value, classScores(loss.kind, value, dims), loss.labelSmoothing) }
    case 'distillation':
      return { value, dims, ...distillation(emit, loss, value, classScores(loss.kind, value, dims)) }
    case 'binary-cross-entropy':
      return { value, dims, ...binaryCrossEntropy(emit, value, dims) }
    case 'mean-squared-error':
      return { value, dims, ...squaredError(emit, value, dims, emit.input(LABELS_INPUT, 'FLOAT', dims), 1) }
  }
}

/** Emits the squared error of an intermediate value of shape `dims` against what the teacher makes there. */
export function emitHint(emit: StepEmitter, { value, weight }: Hint, dims: readonly number[]): EmittedLoss {
  return { value, dims, ...squaredError(emit, value, dims, emit.input(hintInput(value), 'FLOAT', dims), weight) }
}

interface ClassScores {
  readonly batch: number
  readonly classes: number
}

function classScores(kind: Loss['kind'], value: string, dims: readonly number[]): ClassScores {
  const [batch, classes] = dims
  if (batch !== undefined && classes !== undefined && dims.length === 2 && classes > 1) return { batch, classes }
  throw new EdgefitError(
    `loss ${kind} needs [batch, classes] scores with at least 2 classes, "${value}" is [${dims.join(', ')}]; ` +
      'use mean-squared-error or binary-cross-entropy',
    { code: 'RECIPE_INVALID', details: { value, dims } },
  )
}

type LossAndGradient = Pick<EmittedLoss, 'loss' | 'gradient'>

/** -Σ t log softmax(z) / N, whose gradient is (softmax(z) - t) / N for targets t that add up to 1. */
function crossEntropy(
  emit: StepEmitter,
  scores: string,
  { batch, classes }: ClassScores,
  smoothing: number,
): LossAndGradient {
  const labels = emit.input(LABELS_INPUT, 'INT64', [batch])
  const logs = emit.add('LogSoftmax', [scores], { axis: intValue(1) })
  const others = smoothing / classes
  const offOn = emit.constant(floatTensor('train/offOn', [2], Float32Array.of(others, 1 - smoothing + others)))
  const targets = emit.add('OneHot', [labels, emit.ints([classes]), offOn], { axis: intValue(1) })
  const sum = emit.reduceSum(emit.add('Mul', [targets, logs]), [0, 1], false)
  const difference = emit.add('Sub', [emit.add('Exp', [logs]), targets])
  return { loss: scaled(emit, sum, -1 / batch), gradient: scaled(emit, difference, 1 / batch) }
}

/** T² KL(p ‖ q) / N with p and q softened by T, whose gradient by the student's scores is T (q - p) / N. */
function softened(emit: StepEmitter, scores: string, { batch, classes }: ClassScores, temperature: number) {
  const soften = (value: string): string =>
    emit.add('LogSoftmax', [scaled(emit, value, 1 / temperature)], { axis: intValue(1) })
  const student = soften(scores)
  const teacher = soften(emit.input(TEACHER_INPUT, 'FLOAT', [batch, classes]))
  const p = emit.add('Exp', [teacher])
  const divergence = emit.reduceSum(emit.add('Mul', [p, emit.add('Sub', [teacher, student])]), [0, 1], false)
  const difference = emit.add('Sub', [emit.add('Exp', [student]), p])
  return {
    loss: scaled(emit, divergence, temperature ** 2 / batch),
    gradient: scaled(emit, difference, temperature / batch),
  }
}

function distillation(
  emit: StepEmitter,
  { temperature, mixing, labelSmoothing }: Extract<Loss, { kind: 'distillation' }>,
  value: string,
  scores: ClassScores,
): LossAndGradient {
  const soft = softened(emit, value, scores, temperature)
  if (mixing === 1) return soft
  const hard = crossEntropy(emit, value, scores, labelSmoothing)
  const mixed = (ofHard: string, ofSoft: string): string =>
    emit.add('Add', [scaled(emit, ofHard, 1 - mixing), scaled(emit, ofSoft, mixing)])
  return { loss: mixed(hard.loss, soft.loss), gradient: mixed(hard.gradient, soft.gradient) }
}

/** softplus(z) - yz, as max(z, 0) - yz + log(1 + exp(-|z|)) so that no exponential overflows; its gradient is σ(z) - y. */
function binaryCrossEntropy(emit: StepEmitter, value: string, dims: readonly number[]): LossAndGradient {
  const batch = dims[0] ?? 0
  if (countOf(dims) !== batch) {
    throw new EdgefitError(
      `loss binary-cross-entropy needs one score a sample, "${value}" is [${dims.join(', ')}]; use cross-entropy`,
      { code: 'RECIPE_INVALID', details: { value, dims } },
    )
  }
  const labels = emit.input(LABELS_INPUT, 'FLOAT', dims)
  const linear = emit.add('Sub', [emit.add('Relu', [value]), emit.add('Mul', [value, labels])])
  const exponential = emit.add('Exp', [emit.add('Neg', [emit.add('Abs', [value])])])
  const terms = emit.add('Add', [linear, emit.add('Log', [emit.add('Add', [exponential, emit.scalar(1)])])])
  const difference = emit.add('Sub', [emit.add('Sigmoid', [value]), labels])
  return {
    loss: scaled(emit, emit.reduceSum(terms, [...dims.keys()], false), 1 / batch),
    gradient: scaled(emit, difference, 1 / batch),
  }
}

function squaredError(
  emit: StepEmitter,
  value: string,
  dims: readonly number[],
  target: string,
  weight: number,
): LossAndGradient {
  const difference = emit.add('Sub', [value, target])
  const sum = emit.reduceSum(emit.add('Mul', [difference, difference]), [...dims.keys()], false)
  const factor = weight / countOf(dims)
  return { loss: scaled(emit, sum, factor), gradient: scaled(emit, difference, 2 * factor) }
}

function scaled(emit: StepEmitter, value: string, factor: number): string {
  return factor === 1 ? value : emit.add('Mul', [value, emit.scalar(factor)])
}

function countOf(dims: readonly number[]): number {
  return dims.reduce((product, dim) => product * dim, 1)
}
