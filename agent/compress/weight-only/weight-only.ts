import { EdgefitError } from '@edgefit/shared'
import { editGraph, indexGraph, type Model, type Node, subgraphs, type Tensor } from '@edgefit/shared/onnx'
import { nodeLabel, refuseUnknownNodes } from '../node-label.ts'
import { INSIDE_STAYS, type Role, roleOf } from '../operator-roles.ts'
import { notesByReason, type PassResult } from '../pass-report.ts'
import { prepareForQuantization } from '../prepare-for-quantization.ts'
import type { Roundings } from '../rounding/roundings.ts'
import { type BlockFormat, type BlockwiseWeights, quantizeBlocks } from './quantize-blocks.ts'
import { dequantizeBlocks, matMulNBits, type StoredWeights } from './weight-forms.ts'

export interface WeightOnlyOptions extends BlockFormat {
  /** The runtime's operator MatMulNBits, or the standard's blockwise DequantizeLinear, for which a model is lifted to opset 21. */
  readonly form: 'matmulnbits' | 'dequantize'
  /** Labels of nodes to leave in float. */
  readonly exclude: readonly string[]
}

/** A MatMul or Gemm whose weights get few bits. */
export interface BlockwiseLayer {
  readonly node: Node
  readonly weights: Tensor
  readonly outputAxis: 0 | 1
  readonly bias?: Tensor | undefined
}

type BlocksOf = (layer: BlockwiseLayer) => BlockwiseWeights | undefined

export interface WeightOnlyQuantization {
  /** The given model in the form that will be quantized. */
  readonly prepared: Model
  /** In graph order. */
  readonly layers: readonly BlockwiseLayer[]
  /**
   * @param roundings of weights that are not to be rounded to nearest
   * @param blocksOf for layers whose weights have been quantized already
   * @throws EdgefitError MODEL_INVALID for weights that are not finite.
   */
  apply(roundings?: Roundings, blocksOf?: BlocksOf): PassResult
}

/**
 * Weights of MatMul and Gemm in 8 or 4 bits, a scale for each block of them; activations stay float in the file. Needs no
 * calibration. Best where one row at a time meets large matrices, and memory is what limits.
 *
 * @throws EdgefitError MODEL_UNSUPPORTED when the model has nothing to quantize or cannot be lifted; RECIPE_INVALID when
 * `exclude` names what is not there.
 */
export function planWeightsOnly(model: Model, options: WeightOnlyOptions): WeightOnlyQuantization {
  const prepared = prepareForQuantization(model, options.form === 'dequantize' ? BLOCKWISE_OPSET : undefined)
  refuseUnknownNodes(prepared.graph, options.exclude)
  const index = indexGraph(prepared.graph)
  const exclude = new Set(options.exclude)
  const left: { node: Node; reason: string }[] = []
  const layers: BlockwiseLayer[] = []
  for (const node of prepared.graph.nodes) {
    if (subgraphs(node).length > 0) left.push({ node, reason: INSIDE_STAYS })
    if (!['MatMul', 'Gemm'].includes(node.opType) || node.domain !== '') continue
    const role = roleOf(node, (value) => index.constant(value))
    const reason = exclude.has(nodeLabel(node)) ? 'the recipe excludes it' : whyNot(role)
    if (reason !== undefined) left.push({ node, reason: `in float, ${reason}` })
    else if (role.kind === 'layer') {
      layers.push({ node, weights: role.weights, outputAxis: role.axis === 0 ? 0 : 1, bias: role.bias })
    }
  }
  const notes = notesByReason(left)
  if (layers.length === 0) throw nothingToQuantize(notes)
  return {
    prepared,
    layers,
    apply: (roundings = new Map(), blocksOf = () => undefined) => ({
      model: withBlocks(prepared, layers, options, (layer) => {
        const { weights, outputAxis } = layer
        return blocksOf(layer) ?? quantizeBlocks(weights, outputAxis, options, roundings.get(weights.name))
      }),
      notes,
    }),
  }
}

/** {@link planWeightsOnly}, with all weights rounded to nearest. */
export function quantizeWeightsOnly(model: Model, options: WeightOnlyOptions): PassResult {
  return planWeightsOnly(model, options).apply()
}

function withBlocks(
  prepared: Model,
  layers: readonly BlockwiseLayer[],
  options: WeightOnlyOptions,
  blocksOf: (layer: BlockwiseLayer) => BlockwiseWeights,
): Model {
  const editor = editGraph(prepared.graph)
  const form = options.form === 'dequantize' ? dequantizeBlocks(options) : matMulNBits(options)
  const stored = new Map<string, StoredWeights>()
  for (const layer of layers) {
    const { node, weights: matrix, outputAxis, bias } = layer
    // The runtime would merge equal DequantizeLinear, and does not fuse one that two layers read.
    const key = options.form === 'dequantize' ? nodeLabel(node) : `${outputAxis} ${matrix.name}`
    const weights = stored.get(key) ?? form.store(editor, matrix.name, blocksOf(layer))
    stored.set(key, weights)
    const flat = bias && { ...bias, dims: [weights.outputs] }
    if (flat !== undefined) editor.setInitializer(flat)
    form.replace(editor, node, weights, flat)
  }
  editor.prune()
  const opsets = options.form === 'dequantize' ? [] : [['com.microsoft', 1] as const]
  return { ...prepared, opsetImports: new Map([...prepared.opsetImports, ...opsets]), graph: editor.build() }
}

function whyNot(role: Role): string | undefined {
  if (role.kind === 'float') return role.reason
  if (role.kind !== 'layer') return 'neither operand is constant'
  return role.weights.dims.length === 2 ? undefined : 'its weights are not a matrix'
}

/** The first opset whose DequantizeLinear knows blocks and integers of 4 bits. */
const BLOCKWISE_OPSET = 21

function nothingToQuantize(notes: readonly string[]): EdgefitError {
  return new EdgefitError(
    [
      'weight-only quantization needs a MatMul or Gemm with a constant float32 matrix, and the model has none',
      ...notes,
    ].join('; '),
    { code: 'MODEL_UNSUPPORTED', details: { notes } },
  )
}
