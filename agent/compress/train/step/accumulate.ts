import { intValue } from '@edgefit/shared/onnx'
import type { StepEmitter } from './step-emitter.ts'

/** Bool: whether the batch is the last of an update. Only where gradients accumulate over several. */
export const APPLY_INPUT = 'train/apply'

const FLOAT = intValue(1)

export interface Accumulation {
  /** What is to be applied, in the order given: the means over the batches so far. */
  readonly gradients: readonly string[]
  /** Carries `value` on as `name`; while batches are still being added up, what came in instead. */
  carry(name: string, value: string): void
}

/** Averages gradients over `batches` batches before they are applied: the memory of one batch, the noise of many. */
export function emitAccumulation(
  emit: StepEmitter,
  weights: readonly { readonly name: string; readonly dims: readonly number[]; readonly gradient: string }[],
  batches: number,
): Accumulation {
  if (batches === 1) return { gradients: weights.map(({ gradient }) => gradient), carry: emit.carry }
  const apply = emit.input(APPLY_INPUT, 'BOOL', [])
  const keep = emit.add('Cast', [emit.add('Not', [apply])], { to: FLOAT })
  const gradients = weights.map(({ name, dims, gradient }) => {
    const before = emit.carried(`sum/${name}`, dims)
    const sum = emit.add('Add', [before, emit.add('Mul', [gradient, emit.scalar(1 / batches)])])
    emit.carry(before, emit.add('Mul', [sum, keep]))
    return sum
  })
  return { gradients, carry: (name, value) => emit.carry(name, emit.add('Where', [apply, value, name])) }
}
