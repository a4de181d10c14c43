import { EdgefitError } from '@edgefit/shared'
import { encodeModel } from '@edgefit/shared/onnx'
import type { FeedTensor, OpenSession } from '../runtime-port.ts'
import type { TrainingPlan } from './plan.ts'
import { APPLY_INPUT } from './step/accumulate.ts'
import { GRADIENT_NORM_OUTPUT, LOSS_OUTPUT, type TrainingStep } from './step/build-step.ts'
import { LABELS_INPUT } from './step/losses.ts'
import { optimizerScalars } from './step/optimizers.ts'
import { nextOf } from './step/step-emitter.ts'
import { labelFeed, type TrainingData } from './training-data.ts'

/** float32 numbers by name. */
export type Numbers = ReadonlyMap<string, Float32Array>

/** What a teacher says of the samples drawn at these turns, which the model is fed as `feeds`, by input of the step. */
export type Teacher = (turns: readonly number[], feeds: TeacherFeeds) => TeacherFeeds | Promise<TeacherFeeds>
type TeacherFeeds = Readonly<Record<string, FeedTensor>>

export interface StepPorts {
  /** By turns. */
  readonly data: TrainingData
  readonly teacher?: Teacher
  readonly openSession: OpenSession
  readonly threads: number
}

interface AppliedUpdate {
  /** What the next update starts from. */
  readonly carried: Numbers
  /** Mean over the update's batches. */
  readonly loss: number
  readonly gradientNorm: number
}

export interface StepRunner {
  /**
   * One update.
   *
   * @param batches turns of `data`; several where gradients accumulate
   * @param updateOfOptimizer counts from 1 since the optimizer began with nothing
   * @param onBatch called after each, with the share of the update that is done
   */
  update(
    carried: Numbers,
    batches: readonly (readonly number[])[],
    at: { readonly updateOfOptimizer: number; readonly rate: number },
    onBatch?: (share: number) => void,
  ): Promise<AppliedUpdate>
  release(): Promise<void>
}

/**
 * Loads the graph of a step.
 *
 * @throws EdgefitError with an update, RECIPE_INVALID when the teacher's answers are of other shapes than the model's.
 */
export async function openStep(step: TrainingStep, { optimizer }: TrainingPlan, ports: StepPorts): Promise<StepRunner> {
  const session = await ports.openSession(encodeModel(step.model), {
    graphOptimization: 'all',
    threads: ports.threads,
    memoryPattern: false,
  })
  const labels = step.inputs.find(({ name }) => name === LABELS_INPUT)
  const taken = new Set(step.inputs.map(({ name }) => name))
  const accumulates = taken.has(APPLY_INPUT)

  async function fed(turns: readonly number[]): Promise<Record<string, FeedTensor>> {
    const feeds = await ports.data.feeds(turns)
    return {
      ...feeds,
      ...(labels && { [labels.name]: labelFeed(labels, await ports.data.labels(turns), step.classes) }),
      ...taught((await ports.teacher?.(turns, feeds)) ?? {}),
    }
  }

  function taught(answers: TeacherFeeds): TeacherFeeds {
    const wanted = Object.entries(answers).filter(([name]) => taken.has(name))
    for (const [name, { dims }] of wanted) {
      const own = step.inputs.find((input) => input.name === name)?.dims ?? []
      if (own.join() === dims.join()) continue
      throw new EdgefitError(
        `the teacher does not fit the model: for ${name} it gives [${dims.join(', ')}], where the model has ` +
          `[${own.join(', ')}]; give a teacher for the same classes, and hints between values of the same shape`,
        { code: 'RECIPE_INVALID', details: { input: name, teacher: dims, model: own } },
      )
    }
    return Object.fromEntries(wanted)
  }

  return {
    async update(before, batches, { updateOfOptimizer, rate }, onBatch) {
      const scalars = scalarFeeds(optimizerScalars(optimizer, updateOfOptimizer, rate))
      let carried = before
      let loss = 0
      let gradientNorm = Number.NaN
      for (const [at, turns] of batches.entries()) {
        const outputs = await session.run({
          ...(await fed(turns)),
          ...carriedFeeds(step, carried),
          ...scalars,
          ...(accumulates && { [APPLY_INPUT]: truth(at === batches.length - 1) }),
        })
        const numbers = (name: string): Float32Array => floats(outputs[name]?.data)
        carried = new Map(step.carried.map(({ name }) => [name, numbers(nextOf(name))]))
        loss += (numbers(LOSS_OUTPUT)[0] ?? Number.NaN) / batches.length
        gradientNorm = numbers(GRADIENT_NORM_OUTPUT)[0] ?? Number.NaN
        onBatch?.((at + 1) / batches.length)
      }
      return { carried, loss, gradientNorm }
    },
    release: () => session.release(),
  }
}

function carriedFeeds({ carried }: TrainingStep, numbers: Numbers): Record<string, FeedTensor> {
  return Object.fromEntries(
    carried.map(({ name, dims }) => [name, { type: 'float32', dims, data: floats(numbers.get(name)) }]),
  )
}

function scalarFeeds(scalars: Readonly<Record<string, number>>): Record<string, FeedTensor> {
  return Object.fromEntries(
    Object.entries(scalars).map(([name, value]) => [name, { type: 'float32', dims: [], data: Float32Array.of(value) }]),
  )
}

function truth(value: boolean): FeedTensor {
  return { type: 'bool', dims: [], data: Uint8Array.of(value ? 1 : 0) }
}

function floats(data: unknown): Float32Array {
  if (data instanceof Float32Array) return data
  throw new TypeError('a step gives out float32 numbers')
}
