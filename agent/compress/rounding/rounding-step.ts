import {
  editGraph,
  floatTensor,
  inferShapes,
  type Model,
  type Node,
  node,
  type Tensor,
  type ValueInfo,
} from '@edgefit/shared/onnx'
import { backward } from '../train/autodiff/backward.ts'
import { emitUpdate, type Optimizer } from '../train/step/optimizers.ts'
import { createStepEmitter } from '../train/step/step-emitter.ts'
import type { LayerMatrix } from './layer-matrix.ts'

/** What a layer computes from its rows, with each weight between two neighbouring steps. */
export interface RoundingProblem {
  readonly matrix: LayerMatrix
  /** Weights as [groups, inputs, outputs], all rounded down, and what rounding up adds to each. */
  readonly down: Float32Array
  readonly gap: Float32Array
  /** As [groups, 1, outputs]. */
  readonly bias?: Float32Array | undefined
  /** The operator that alone reads the layer's output, with the constants it reads besides. */
  readonly activation?: { readonly node: Node; readonly constants: readonly Tensor[] } | undefined
}

/** What the optimizer moves: how far up each weight is, by {@link upness}. [groups, inputs, outputs] */
export const LATENT = 'latent'
export const ROWS_INPUT = 'rows'
export const TARGETS_INPUT = 'targets'
/** What the squared error's gradient is multiplied by. */
export const ERROR_WEIGHT_INPUT = 'errorWeight'
/** β - 1 and -2λβ of the regularizer λ Σ (1 - |2h - 1|^β). */
export const EXPONENT_INPUT = 'exponent'
export const PULL_INPUT = 'pull'
/** Σ of the squared errors of the batch, of before the step. */
export const ERROR_OUTPUT = 'error'

export const ADAM: Optimizer = { kind: 'adam', beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0 }

/** How far the rectified sigmoid reaches beyond 0 and 1, so that it gets there. */
const STRETCH = { low: -0.1, high: 1.1 }
const SPAN = STRETCH.high - STRETCH.low

/** The latent number at which the rectified sigmoid gives `up`, from 0 to 1. */
export function latentOf(up: number): number {
  return -Math.log(SPAN / (up - STRETCH.low) - 1)
}

const OPSET = 17

/**
 * The graph of one step of AdaRound (Nagel et al., arXiv 2004.10568): h = clip(σ(V)(ζ - γ) + γ, 0, 1) says how far up each
 * weight is; the gradient of the squared error, and of a regularizer that pulls h to 0 or 1, moves V.
 *
 * @returns the carried names, LATENT first; all others are zero at first
 */
export function roundingStep(
  problem: RoundingProblem,
  rows: number,
): { readonly model: Model; readonly carried: readonly string[] } {
  const forward = forwardModel(problem, rows)
  const { emit, parts } = createStepEmitter(OPSET, editGraph(forward.graph).freshName)
  const dims = dimsOf(problem.matrix)
  const scalar = (name: string): string => emit.input(name, 'FLOAT', [])

  const difference = emit.add('Sub', [PREDICTION, TARGETS_INPUT])
  const squares = emit.add('Mul', [difference, difference])
  emit.output(ERROR_OUTPUT, emit.reduceSum(squares, [0, 1, 2], false), [])
  const errorWeight = emit.add('Mul', [scalar(ERROR_WEIGHT_INPUT), emit.scalar(2)])
  const seeds = new Map([
    [PREDICTION, emit.add('Mul', [difference, errorWeight])],
    [UPNESS, emitPull(emit, scalar(EXPONENT_INPUT), scalar(PULL_INPUT))],
  ])
  const { gradients } = backward({ model: forward, seeds, targets: [LATENT], emit })
  const gradient = gradients.get(LATENT)
  if (gradient === undefined) throw new RangeError('an activation of a layer has no gradient')

  emit.carried(LATENT, dims)
  const update = emitUpdate(emit, ADAM, { name: LATENT, dims, gradient, decays: false })
  emit.carry(LATENT, update.weight)
  for (const [name, value] of update.state) emit.carry(name, value)
  const made = parts()
  const inputs = [...forward.graph.inputs.filter(({ name }) => name !== LATENT), ...made.inputInfos]
  const initializers = new Map([
    ...forward.graph.initializers,
    ...made.constants.map((tensor): [string, Tensor] => [tensor.name, tensor]),
  ])
  const nodes = [...forward.graph.nodes, ...made.nodes]
  const editor = editGraph({ ...forward.graph, nodes, initializers, inputs, outputs: made.outputInfos })
  editor.prune()
  return { model: { ...forward, graph: editor.build() }, carried: made.carried.map(({ name }) => name) }
}

/** The regularizer's gradient by h: -2λβ |2h - 1|^(β - 1) sign(2h - 1). */
function emitPull(emit: Emit, exponent: string, pull: string): string {
  const offset = emit.add('Sub', [emit.add('Mul', [UPNESS, emit.scalar(2)]), emit.scalar(1)])
  const power = emit.add('Pow', [emit.add('Abs', [offset]), exponent])
  return emit.add('Mul', [emit.add('Mul', [power, emit.add('Sign', [offset])]), pull])
}

type Emit = ReturnType<typeof createStepEmitter>['emit']

const UPNESS = 'upness'
const PREDICTION = 'prediction'

function forwardModel({ matrix, down, gap, bias, activation }: RoundingProblem, rows: number): Model {
  const { groups, inputs, outputs } = matrix
  const dims = dimsOf(matrix)
  const constants = [
    floatTensor('down', dims, down),
    floatTensor('gap', dims, gap),
    floatTensor('span', [], Float32Array.of(SPAN)),
    floatTensor('low', [], Float32Array.of(STRETCH.low)),
    floatTensor('zero', [], Float32Array.of(0)),
    floatTensor('one', [], Float32Array.of(1)),
    ...(bias === undefined ? [] : [floatTensor('bias', [groups, 1, outputs], bias)]),
  ]
  const op = (opType: string, operands: readonly string[], output: string): Node =>
    node({ opType, inputs: operands, outputs: [output] })
  const nodes = [
    op('Sigmoid', [LATENT], 'sigmoid'),
    op('Mul', ['sigmoid', 'span'], 'stretched'),
    op('Add', ['stretched', 'low'], 'shifted'),
    op('Clip', ['shifted', 'zero', 'one'], UPNESS),
    op('Mul', [UPNESS, 'gap'], 'above'),
    op('Add', ['above', 'down'], 'weights'),
    op('MatMul', [ROWS_INPUT, 'weights'], 'product'),
    bias === undefined ? op('Identity', ['product'], 'biased') : op('Add', ['product', 'bias'], 'biased'),
    ...activated(activation),
  ]
  const given = activation?.constants.map((tensor, at) => ({ ...tensor, name: `${ACTIVATION}/${at}` })) ?? []
  return inferShapes({
    irVersion: 8,
    opsetImports: new Map([['', OPSET]]),
    producerName: '',
    producerVersion: '',
    metadata: new Map(),
    graph: {
      name: 'rounding',
      nodes,
      initializers: new Map([...constants, ...given].map((tensor) => [tensor.name, tensor])),
      inputs: [
        info(LATENT, dims),
        info(ROWS_INPUT, [groups, rows, inputs]),
        info(TARGETS_INPUT, [groups, rows, outputs]),
      ],
      outputs: [{ name: PREDICTION }],
      valueInfo: new Map(),
    },
  })
}

const ACTIVATION = 'activation'

function activated(activation: RoundingProblem['activation']): readonly Node[] {
  if (activation === undefined) return [node({ opType: 'Identity', inputs: ['biased'], outputs: [PREDICTION] })]
  const { node: own, constants } = activation
  const [, ...others] = own.inputs
  let at = 0
  const operands = others.map((name) => (name === '' ? '' : `${ACTIVATION}/${at++}`))
  if (at !== constants.length) throw new RangeError(`"${own.name}" has not the constants it reads`)
  return [{ ...own, name: ACTIVATION, inputs: ['biased', ...operands], outputs: [PREDICTION] }]
}

function dimsOf({ groups, inputs, outputs }: LayerMatrix): readonly number[] {
  return [groups, inputs, outputs]
}

function info(name: string, shape: readonly number[]): ValueInfo {
  return { name, type: { kind: 'tensor', dataType: 'FLOAT', shape } }
}
