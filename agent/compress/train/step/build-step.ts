import { EdgefitError } from '@edgefit/shared'
import { editGraph, type Graph, indexGraph, type Model, type Node } from '@edgefit/shared/onnx'
import { liftOpset } from '../../lift-opset/lift-opset.ts'
import { backward } from '../autodiff/backward.ts'
import type { TrainableWeight } from '../trainable.ts'
import { emitAccumulation } from './accumulate.ts'
import { withBatch } from './batch-size.ts'
import { emitClipping } from './clip-gradients.ts'
import { layOutForProducts } from './layout-for-products.ts'
import { type EmittedLoss, emitHint, emitLoss, type Hint, type Loss } from './losses.ts'
import { emitReach, emitUpdate, type Optimizer } from './optimizers.ts'
import { emitPressure, type Penalty } from './penalties.ts'
import { type Carried, createStepEmitter, type StepEmitter, type StepInput, type StepParts } from './step-emitter.ts'

export interface StepRequest {
  /** float32; batch normalization is taken as it is in inference. */
  readonly model: Model
  readonly batch: number
  readonly trainable: readonly TrainableWeight[]
  /** Values through which no gradient flows. */
  readonly barriers?: ReadonlySet<string>
  readonly loss: Loss
  readonly hints?: readonly Hint[]
  readonly optimizer: Optimizer
  /** Gradients are scaled down together to this norm. */
  readonly maxGradientNorm?: number | undefined
  /** Pressure on weights: `group-lasso` wants `trainable` to know what is removable. */
  readonly penalties?: readonly Penalty[]
  /** Batches whose gradients are averaged for one update. */
  readonly accumulation?: number
}

/** One step of training as a model: weights and state in, new weights and state out. */
export interface TrainingStep {
  readonly model: Model
  /** Labels, the teacher's answers, scalars: what to feed besides the model's own inputs. */
  readonly inputs: readonly StepInput[]
  /** Weights by their names, then what optimizer and accumulation keep, which is zero at first. */
  readonly carried: readonly Carried[]
  readonly trained: readonly TrainableWeight[]
  /** Length of the last axis of what the loss looks at. */
  readonly classes: number
  /** Weights that get no gradient, and why. They stay as they are. */
  readonly frozen: ReadonlyMap<string, string>
}

export const LOSS_OUTPUT = 'train/loss'
/** Of all gradients together, before clipping. Not finite where one of them is not. */
export const GRADIENT_NORM_OUTPUT = 'train/gradientNorm'

/** The oldest opset that has all operators gradients are made of. */
export const TRAINING_OPSET = 17

/**
 * Builds the graph of one training step.
 *
 * @throws EdgefitError MODEL_UNSUPPORTED when the batch cannot be bound or no weight gets a gradient; RECIPE_INVALID when
 * the loss does not fit the model, or a penalty presses on nothing.
 */
export function buildStep(request: StepRequest): TrainingStep {
  const model = layOutForProducts(withBatch(liftOpset(request.model, TRAINING_OPSET), request.batch))
  const { graph } = model
  const { emit, parts } = createStepEmitter(model.opsetImports.get('') ?? TRAINING_OPSET, editGraph(graph).freshName)
  const losses = emitLosses(emit, graph, request)
  const { gradients, missing, forward } = backward({
    model,
    seeds: seedsOf(emit, losses),
    targets: request.trainable.map(({ name }) => name),
    ...(request.barriers && { barriers: request.barriers }),
    emit,
  })
  const trained = request.trainable.flatMap((weight) => {
    const gradient = gradients.get(weight.name)
    return gradient === undefined ? [] : [{ ...weight, gradient }]
  })
  if (trained.length === 0) throw nothingTrains(missing)
  for (const { name, dims } of trained) emit.carried(name, dims)

  const pressure = emitPressure(emit, request.penalties ?? [], trained)
  const pulled = pressure.pulled(trained.map(({ gradient }) => gradient))
  const summed = trained.map((weight, at) => ({ ...weight, gradient: pulled[at] ?? '' }))
  const accumulation = emitAccumulation(emit, summed, request.accumulation ?? 1)
  const ranked = accumulation.gradients.map((value, at) => ({ value, rank: trained[at]?.dims.length ?? 0 }))
  const clipped = emitClipping(emit, ranked, request.maxGradientNorm)
  const moved = trained.map((weight, at) => {
    const update = emitUpdate(emit, request.optimizer, { ...weight, gradient: clipped.gradients[at] ?? '' })
    for (const [name, value] of update.state) accumulation.carry(name, value)
    return update.weight
  })
  const shrunk = pressure.shrunk(moved, emitReach(emit, request.optimizer))
  for (const [at, { name }] of trained.entries()) accumulation.carry(name, shrunk[at] ?? '')
  emit.output(LOSS_OUTPUT, total(emit, [...losses.map(({ loss }) => loss), ...pressure.losses]), [])
  emit.output(GRADIENT_NORM_OUTPUT, clipped.norm, [])

  const made = parts()
  return {
    model: { ...model, graph: assembled(graph, forward, made) },
    inputs: made.inputs,
    carried: made.carried,
    classes: losses[0]?.dims.at(-1) ?? 1,
    trained: request.trainable.filter(({ name }) => gradients.has(name)),
    frozen: missing,
  }
}

/** Emits the losses on what the model gives out first, and on what hints name. */
export function emitLosses(
  emit: StepEmitter,
  graph: Graph,
  { loss, hints = [] }: Pick<StepRequest, 'loss' | 'hints'>,
): readonly EmittedLoss[] {
  const index = indexGraph(graph)
  const dimsOf = (value: string): readonly number[] => {
    const shape = index.shapeOf(value)
    if (shape?.every((dim) => typeof dim === 'number')) return shape.map(Number)
    throw new EdgefitError(
      shape === undefined && index.producer(value) === undefined
        ? `the model has no value "${value}"; name an intermediate value of it`
        : `the shape of "${value}" is not fixed; export the model with fixed lengths to train it`,
      { code: shape === undefined ? 'RECIPE_INVALID' : 'MODEL_UNSUPPORTED', details: { value } },
    )
  }
  const scores = scoresOf(graph, loss)
  return [
    emitLoss(emit, loss, { value: scores, dims: dimsOf(scores) }),
    ...hints.map((hint) => emitHint(emit, hint, dimsOf(hint.value))),
  ]
}

/** Values before these are what the losses are defined on. */
const SQUASHED_BY: Readonly<Record<Loss['kind'], readonly string[]>> = {
  'cross-entropy': ['Softmax', 'LogSoftmax'],
  distillation: ['Softmax', 'LogSoftmax'],
  'binary-cross-entropy': ['Sigmoid'],
  'mean-squared-error': [],
}

/** These hand on the numbers they get: what is behind them may be squashed all the same. */
const HANDING_ON: ReadonlySet<string> = new Set('Cast Dropout Flatten Identity Reshape Squeeze Unsqueeze'.split(' '))

/** The model's first output, or what it squashes. */
export function scoresOf({ nodes, outputs }: Graph, { kind }: Pick<Loss, 'kind'>): string {
  const output = outputs[0]?.name ?? ''
  const producerOf = (value: string): Node | undefined => nodes.find((node) => node.outputs[0] === value)
  let producer = producerOf(output)
  while (producer !== undefined && HANDING_ON.has(producer.opType)) producer = producerOf(producer.inputs[0] ?? '')
  return producer !== undefined && SQUASHED_BY[kind].includes(producer.opType) ? (producer.inputs[0] ?? '') : output
}

export function seedsOf(emit: StepEmitter, losses: readonly EmittedLoss[]): ReadonlyMap<string, string> {
  const seeds = new Map<string, string>()
  for (const { value, gradient } of losses) {
    const before = seeds.get(value)
    seeds.set(value, before === undefined ? gradient : emit.add('Add', [before, gradient]))
  }
  return seeds
}

function total(emit: StepEmitter, losses: readonly string[]): string {
  return losses.length === 1 ? (losses[0] ?? '') : emit.add('Sum', losses)
}

/** The forward graph's own outputs are not given out: a step is run for what it carries on. */
export function assembled(graph: Graph, forward: readonly Node[], made: StepParts): Graph {
  const carried = new Set(made.carried.map(({ name }) => name))
  const initializers = new Map([...graph.initializers].filter(([name]) => !carried.has(name)))
  for (const constant of made.constants) initializers.set(constant.name, constant)
  const editor = editGraph({
    ...graph,
    nodes: [...forward, ...made.nodes],
    initializers,
    inputs: [...graph.inputs.filter(({ name }) => !carried.has(name)), ...made.inputInfos],
    outputs: made.outputInfos,
  })
  editor.prune()
  return editor.build()
}

function nothingTrains(missing: ReadonlyMap<string, string>): EdgefitError {
  const [first] = missing
  return new EdgefitError(
    `no weight of the model can be trained${first === undefined ? '' : `: "${first[0]}" is ${first[1]}`}`,
    { code: 'MODEL_UNSUPPORTED', details: { missing: Object.fromEntries(missing) } },
  )
}
