import { EdgefitError } from '@edgefit/shared'
import { asFloat32, editGraph, encodeModel, freeInputs, type Model } from '@edgefit/shared/onnx'
import { liftOpset } from '../lift-opset/lift-opset.ts'
import type { FeedTensor, OpenSession } from '../runtime-port.ts'
import { backward } from './autodiff/backward.ts'
import { withBatch } from './step/batch-size.ts'
import { assembled, emitLosses, seedsOf, TRAINING_OPSET } from './step/build-step.ts'
import { layOutForProducts } from './step/layout-for-products.ts'
import { LABELS_INPUT, type Loss } from './step/losses.ts'
import { createStepEmitter, type StepInput } from './step/step-emitter.ts'
import { labelFeed, type TrainingData } from './training-data.ts'

/** One axis of an initializer. */
export interface WeightAxis {
  readonly weight: string
  readonly axis: number
}

export interface FirstOrderOptions {
  /** With labels. */
  readonly data: TrainingData
  readonly loss: Loss
  /** The first so many of `data`, less those that do not fill a batch. */
  readonly samples: number
  readonly openSession: OpenSession
  readonly threads: number
  readonly onProgress: (done: number, total: number) => void
  readonly signal: AbortSignal
}

export interface FirstOrder {
  /** That gradients were taken of. */
  readonly samples: number
  /** Weights that get no gradient, and why. */
  readonly missing: ReadonlyMap<string, string>
}

/**
 * What slices of weights are worth to a loss, to first order: Σ w ∂L/∂w over all that lies at one position of an axis.
 * Scaling a slice down to nothing changes the loss by the negative of that, exactly where the loss is linear in it.
 *
 * @param model float32
 * @param axes of its initializers
 * @param see called for each batch, with one sum a position for each of `axes`; empty where a weight gets no gradient
 * @throws EdgefitError MODEL_UNSUPPORTED when no weight gets one; DATASET_INVALID when there are fewer samples than a
 * batch takes; what the losses and the runtime throw; the signal's reason.
 */
export async function firstOrderTerms(
  model: Model,
  axes: readonly WeightAxis[],
  { data, loss, openSession, threads, onProgress, signal, samples }: FirstOrderOptions,
  see: (terms: readonly Float32Array[]) => void,
): Promise<FirstOrder> {
  const count = Math.min(samples, data.count)
  const batch = fixedBatch(model) ?? Math.min(BATCH, count)
  if (batch > count || count === 0) {
    throw new EdgefitError(
      `gradients need at least ${Math.max(1, batch)} samples and there are ${count}; give more data`,
      {
        code: 'DATASET_INVALID',
        details: { batch, count },
      },
    )
  }
  const graph = firstOrderGraph(model, axes, batch, loss)
  const weights = Object.fromEntries(graph.weights.map((name) => [name, weightFeed(model, name)]))
  const labels = graph.inputs.find(({ name }) => name === LABELS_INPUT)
  const session = await openSession(encodeModel(graph.model), {
    graphOptimization: 'all',
    threads,
    memoryPattern: false,
  })
  try {
    for (let first = 0; first + batch <= count; first += batch) {
      signal.throwIfAborted()
      const indices = Array.from({ length: batch }, (_, at) => first + at)
      const outputs = await session.run({
        ...(await data.feeds(indices)),
        ...weights,
        ...(labels && { [labels.name]: labelFeed(labels, await data.labels(indices), graph.classes) }),
      })
      see(axes.map((_, at) => Float32Array.from(outputs[termOf(at)]?.data ?? [], Number)))
      onProgress(first + batch, count)
    }
  } finally {
    await session.release()
  }
  return { samples: count - (count % batch), missing: graph.missing }
}

function weightFeed({ graph }: Model, name: string): FeedTensor {
  const tensor = graph.initializers.get(name)
  if (tensor === undefined) throw new RangeError(`the model has no initializer "${name}"`)
  return { type: 'float32', dims: tensor.dims, data: asFloat32(tensor) }
}

/** Large enough for products, small enough that the differences between samples do not average out. */
const BATCH = 16

function fixedBatch({ graph }: Model): number | undefined {
  const [input] = freeInputs(graph)
  const first = input?.type?.kind === 'tensor' ? input.type.shape?.[0] : undefined
  return typeof first === 'number' ? first : undefined
}

interface FirstOrderGraph {
  readonly model: Model
  readonly inputs: readonly StepInput[]
  /** Those with a gradient, which are inputs here. */
  readonly weights: readonly string[]
  readonly classes: number
  readonly missing: ReadonlyMap<string, string>
}

const termOf = (at: number): string => `train/term/${at}`

function firstOrderGraph(given: Model, axes: readonly WeightAxis[], batch: number, loss: Loss): FirstOrderGraph {
  const model = layOutForProducts(withBatch(liftOpset(given, TRAINING_OPSET), batch))
  const { graph } = model
  const { emit, parts } = createStepEmitter(model.opsetImports.get('') ?? TRAINING_OPSET, editGraph(graph).freshName)
  const losses = emitLosses(emit, graph, { loss })
  const { gradients, missing, forward } = backward({
    model,
    seeds: seedsOf(emit, losses),
    targets: [...new Set(axes.map(({ weight }) => weight))],
    emit,
  })
  if (gradients.size === 0) {
    const [[weight, reason] = ['', 'there is none']] = missing
    throw new EdgefitError(`no weight gets a gradient, "${weight}" for one: ${reason}`, {
      code: 'MODEL_UNSUPPORTED',
      details: { missing: Object.fromEntries(missing) },
    })
  }
  const dimsOf = (weight: string): readonly number[] => graph.initializers.get(weight)?.dims ?? []
  for (const weight of gradients.keys()) emit.carried(weight, dimsOf(weight))
  for (const [at, { weight, axis }] of axes.entries()) {
    const gradient = gradients.get(weight)
    if (gradient === undefined) continue
    const others = [...dimsOf(weight).keys()].filter((other) => other !== axis)
    const terms = emit.reduceSum(emit.add('Mul', [weight, gradient]), others, false)
    emit.output(termOf(at), terms, [dimsOf(weight)[axis] ?? 1])
  }
  const made = parts()
  return {
    model: { ...model, graph: assembled(graph, forward, made) },
    inputs: made.inputs,
    weights: [...gradients.keys()],
    classes: losses[0]?.dims.at(-1) ?? 1,
    missing,
  }
}
