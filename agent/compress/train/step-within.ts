import { EdgefitError } from '@edgefit/shared'
import { freeInputs, initializerBytes, type Model } from '@edgefit/shared/onnx'
import type { TrainingPlan } from './plan.ts'
import { buildStep, type StepRequest, type TrainingStep } from './step/build-step.ts'
import { peakBytes } from './step/step-memory.ts'

/** A step that stays within the memory that it may take. */
export interface StepWithin {
  readonly step: TrainingStep
  /** Runs of the step for each batch of the plan, whose samples they share out evenly. */
  readonly parts: number
  /** Predicted for the process that trains. */
  readonly memoryMib: number
}

/**
 * The step of `plan`; where that would take more than `maxMemoryMib`, in the fewest parts that do not, whose gradients add up
 * to the same. Decided by prediction alone, so that it is the same on every box and in every run.
 *
 * @throws EdgefitError TRIAL_FAILED when one sample at a time takes too much; what {@link buildStep} throws.
 */
export function stepWithin(
  trainee: Pick<StepRequest, 'model' | 'trainable' | 'barriers'>,
  plan: TrainingPlan,
): StepWithin {
  const { batch, accumulation, maxMemoryMib = Number.POSITIVE_INFINITY } = plan
  const takenMib: number[] = []
  for (const parts of isBatchFixed(trainee.model) ? [1] : divisors(batch)) {
    const request = { ...plan, ...trainee, batch: batch / parts, accumulation: accumulation * parts }
    const step = buildStep(request)
    const memoryMib = predictedMib(trainee.model, step)
    if (memoryMib <= maxMemoryMib) return { step, parts, memoryMib }
    takenMib.push(memoryMib)
  }
  const [whole, least] = [takenMib[0] ?? 0, takenMib.at(-1) ?? 0].map((mib) => Math.ceil(mib))
  throw new EdgefitError(
    `training takes about ${whole} MiB in batches of ${batch}${takenMib.length > 1 ? `, and ${least} sample by sample` : ''}; ` +
      `"maxMemoryMib" is ${maxMemoryMib}: raise it to ${least}, or train less of the model ("trainable": last-layers)`,
    { code: 'TRIAL_FAILED', details: { reason: 'out-of-memory', maxMemoryMib, predictedMib: least } },
  )
}

/** Node, the runtime, and what a session takes besides its values. Measured, like the share, on seven networks. */
const PROCESS_MIB = 230
/** The runtime's arena does not fill up evenly. */
const ARENA_SHARE = 1.2
/** The model given, the one that is judged and its file, and the best weights so far. */
const COPIES_OF_WEIGHTS = 4
const MIB = 2 ** 20

function predictedMib(model: Model, step: TrainingStep): number {
  return PROCESS_MIB + (ARENA_SHARE * peakBytes(step.model) + COPIES_OF_WEIGHTS * initializerBytes(model.graph)) / MIB
}

function isBatchFixed({ graph }: Model): boolean {
  return freeInputs(graph).some(({ type }) => type?.kind === 'tensor' && typeof type.shape?.[0] === 'number')
}

/** Ascending. */
function divisors(count: number): readonly number[] {
  return Array.from({ length: count }, (_, at) => at + 1).filter((divisor) => count % divisor === 0)
}
