import type { StepEmitter } from './step-emitter.ts'

/** Keeps gradients of zero from dividing by zero. */
const SMALLEST_NORM = 1e-12

export interface ClippedGradients {
  /** Euclidean norm of all gradients together, before clipping: float32 of shape []. Not finite where one of them is not. */
  readonly norm: string
  /** In the order given. */
  readonly gradients: readonly string[]
}

/**
 * Emits the norm of all gradients together and, with `maxNorm`, scales them down to it where they exceed it (Pascanu,
 * Mikolov and Bengio, arXiv 1211.5063).
 */
export function emitClipping(
  emit: StepEmitter,
  gradients: readonly { readonly value: string; readonly rank: number }[],
  maxNorm: number | undefined,
): ClippedGradients {
  const squares = gradients.map(({ value, rank }) =>
    emit.reduceSum(
      emit.add('Mul', [value, value]),
      Array.from({ length: rank }, (_, axis) => axis),
      false,
    ),
  )
  const norm = emit.add('Sqrt', [emit.add('Sum', squares)])
  const values = gradients.map(({ value }) => value)
  if (maxNorm === undefined) return { norm, gradients: values }
  const ratio = emit.add('Div', [emit.scalar(maxNorm), emit.add('Max', [norm, emit.scalar(SMALLEST_NORM)])])
  const factor = emit.add('Min', [ratio, emit.scalar(1)])
  return { norm, gradients: values.map((value) => emit.add('Mul', [value, factor])) }
}
