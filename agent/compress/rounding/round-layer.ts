import { EdgefitError } from '@edgefit/shared'
import { encodeModel } from '@edgefit/shared/onnx'
import type { FeedTensor, OpenSession } from '../runtime-port.ts'
import { optimizerScalars } from '../train/step/optimizers.ts'
import { nextOf } from '../train/step/step-emitter.ts'
import type { RowBatch, Rows } from './collect-rows.ts'
import {
  ADAM,
  ERROR_OUTPUT,
  ERROR_WEIGHT_INPUT,
  EXPONENT_INPUT,
  LATENT,
  latentOf,
  PULL_INPUT,
  ROWS_INPUT,
  type RoundingProblem,
  roundingStep,
  TARGETS_INPUT,
} from './rounding-step.ts'

export interface RoundingSettings {
  readonly iterations: number
}

interface RoundLayerPorts {
  readonly openSession: OpenSession
  readonly threads: number
  readonly onIteration?: (done: number) => void
  readonly signal: AbortSignal
}

interface RoundedLayer {
  /** Of [groups, inputs, outputs]: whether the weight is rounded up. */
  readonly isUp: (index: number) => boolean
  /** Squared error on the rows held out, over that of the weights rounded to nearest. */
  readonly errorRatio: number
}

/**
 * Looks for the roundings of one layer's weights that make its outputs closest to the float model's. The same rows and
 * settings give the same on the same class of hardware.
 *
 * @param fractions of each weight: how far between the step below, 0, and the one above, 1
 * @throws EdgefitError PASS_FAILED where an error is not finite; what the runtime throws; the signal's reason.
 */
export async function roundLayer(
  problem: RoundingProblem,
  fractions: Float32Array,
  rows: Rows,
  { iterations }: RoundingSettings,
  { openSession, threads, onIteration, signal }: RoundLayerPorts,
): Promise<RoundedLayer> {
  const { groups, inputs, outputs } = problem.matrix
  const count = fractions.length
  const step = roundingStep(problem, rows.size)
  const session = await openSession(encodeModel(step.model), {
    graphOptimization: 'all',
    threads,
    memoryPattern: false,
  })
  const tensor = (dims: readonly number[], data: Float32Array): FeedTensor => ({ type: 'float32', dims, data })
  const ofBatch = (batch: RowBatch): Record<string, FeedTensor> => ({
    [ROWS_INPUT]: tensor([groups, rows.size, inputs], batch.inputs),
    [TARGETS_INPUT]: tensor([groups, rows.size, outputs], batch.targets),
  })
  const scalars = (numbers: Readonly<Record<string, number>>): Record<string, FeedTensor> =>
    Object.fromEntries(Object.entries(numbers).map(([name, value]) => [name, tensor([], Float32Array.of(value))]))
  const carriedFeeds = (carried: ReadonlyMap<string, Float32Array>): Record<string, FeedTensor> =>
    Object.fromEntries([...carried].map(([name, data]) => [name, tensor([groups, inputs, outputs], data)]))
  const startingAt = (latent: Float32Array): ReadonlyMap<string, Float32Array> =>
    new Map(step.carried.map((name) => [name, name === LATENT ? latent : new Float32Array(count)]))

  const run = async (
    carried: ReadonlyMap<string, Float32Array>,
    batch: RowBatch,
    numbers: Readonly<Record<string, number>>,
  ) => {
    const made = await session.run({ ...carriedFeeds(carried), ...ofBatch(batch), ...scalars(numbers) })
    const floats = (name: string): Float32Array => {
      const data = made[name]?.data
      if (data instanceof Float32Array) return data
      throw new TypeError('a step gives out float32 numbers')
    }
    return {
      error: floats(ERROR_OUTPUT)[0] ?? Number.NaN,
      carried: () => new Map(step.carried.map((name) => [name, floats(nextOf(name))])),
    }
  }
  /** With every weight all the way down or up. */
  const errorOf = async (latent: Float32Array, batches: readonly RowBatch[]): Promise<number> => {
    const decided = startingAt(latent.map((value) => (value >= 0 ? DECIDED : -DECIDED)))
    let error = 0
    for (const batch of batches) error += (await run(decided, batch, AT_REST)).error / batches.length
    if (!Number.isFinite(error)) throw notFinite()
    return error
  }

  try {
    const nearest = fractions.map(latentOf)
    const before = await errorOf(nearest, rows.training)
    const heldOutBefore = await errorOf(nearest, [rows.heldOut])
    const errorWeight = before > 0 ? count / before : 0
    let carried = startingAt(nearest)
    for (let done = 0; done < iterations; done++) {
      signal.throwIfAborted()
      const batch = rows.training[done % rows.training.length]
      if (batch === undefined) break
      const { exponent, pull } = regularizerAt(done / iterations)
      const moved = await run(carried, batch, {
        [ERROR_WEIGHT_INPUT]: errorWeight,
        [EXPONENT_INPUT]: exponent,
        [PULL_INPUT]: pull,
        ...optimizerScalars(ADAM, done + 1, LEARNING_RATE),
      })
      carried = moved.carried()
      onIteration?.(done + 1)
    }
    const latent = carried.get(LATENT) ?? nearest
    const after = await errorOf(latent, [rows.heldOut])
    return {
      isUp: (index) => (latent[index] ?? 0) >= 0,
      errorRatio: heldOutBefore > 0 ? after / heldOutBefore : 1,
    }
  } finally {
    await session.release()
  }
}

/** A latent number that is all the way up. */
const DECIDED = 20

const AT_REST = {
  [ERROR_WEIGHT_INPUT]: 0,
  [EXPONENT_INPUT]: 1,
  [PULL_INPUT]: 0,
  ...optimizerScalars(ADAM, 1, 0),
}

/** Of the latent numbers, which decide where they change sign and start within 3 of that. */
const LEARNING_RATE = 0.05
/** For errors of which the average weight has 1 to begin with. */
const LAMBDA = 10
/** Share of the iterations in which only the error counts. */
const WARM_UP = 0.2
const BETA = { first: 20, last: 2 }

function regularizerAt(share: number): { readonly exponent: number; readonly pull: number } {
  if (share < WARM_UP) return { exponent: 1, pull: 0 }
  const beta = BETA.first + ((share - WARM_UP) / (1 - WARM_UP)) * (BETA.last - BETA.first)
  return { exponent: beta - 1, pull: -2 * LAMBDA * beta }
}

function notFinite(): EdgefitError {
  return new EdgefitError(
    'its outputs are not finite on the calibration samples; check the samples, and the model on them',
    {
      code: 'PASS_FAILED',
    },
  )
}
