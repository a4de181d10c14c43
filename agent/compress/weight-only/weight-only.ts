import { EdgefitError } from '@edgefit/shared'
import { editGraph, indexGraph, type Model, type Node, subgraphs } from '@edgefit/shared/onnx'
import { nodeLabel, refuseUnknownNodes } from '../node-label.ts'
import { INSIDE_STAYS, type Role, roleOf } from '../operator-roles.ts'
import { notesByReason, type PassResult } from '../pass-report.ts'
import { prepareForQuantization } from '../prepare-for-quantization.ts'
import { type BlockFormat, quantizeBlocks } from './quantize-blocks.ts'
import { dequantizeBlocks, matMulNBits, type StoredWeights } from './weight-forms.ts'

export interface WeightOnlyOptions extends BlockFormat {
  /** The runtime's operator MatMulNBits, or the standard's blockwise DequantizeLinear, for which a model is lifted to opset 21. */
  readonly form: 'matmulnbits' | 'dequantize'
  /** Labels of nodes to leave in float. */
  readonly exclude: readonly string[]
}

/**
 * Weights of MatMul and Gemm in 8 or 4 bits, a scale for each block of them; activations stay float in the file. Needs no
 * calibration. Best where one row at a time meets large matrices, and memory is what limits.
 *
 * @throws EdgefitError MODEL_UNSUPPORTED when the model has nothing to quantize or cannot be lifted; RECIPE_INVALID when
 * `exclude` names what is not there; MODEL_INVALID for weights that are not finite.
 */
export function quantizeWeightsOnly(model: Model, options: WeightOnlyOptions): PassResult {
  const prepared = prepareForQuantization(model, options.form === 'dequantize' ? BLOCKWISE_OPSET : undefined)
  refuseUnknownNodes(prepared.graph, options.exclude)
  const index = indexGraph(prepared.graph)
  const editor = editGraph(prepared.graph)
  const form = options.form === 'dequantize' ? dequantizeBlocks(options) : matMulNBits(options)
  const exclude = new Set(options.exclude)
  const stored = new Map<string, StoredWeights>()
  const left: { node: Node; reason: string }[] = []
  let quantized = 0

  for (const layer of prepared.graph.nodes) {
    if (subgraphs(layer).length > 0) left.push({ node: layer, reason: INSIDE_STAYS })
    if (!['MatMul', 'Gemm'].includes(layer.opType) || layer.domain !== '') continue
    const role = roleOf(layer, (value) => index.constant(value))
    const reason = exclude.has(nodeLabel(layer)) ? 'the recipe excludes it' : whyNot(role)
    if (reason !== undefined) left.push({ node: layer, reason: `in float, ${reason}` })
    if (reason !== undefined || role.kind !== 'layer') continue
    // The runtime would merge equal DequantizeLinear, and does not fuse one that two layers read.
    const key = options.form === 'dequantize' ? nodeLabel(layer) : `${role.axis} ${role.weights.name}`
    const outputAxis = role.axis === 0 ? 0 : 1
    const weights =
      stored.get(key) ?? form.store(editor, role.weights.name, quantizeBlocks(role.weights, outputAxis, options))
    stored.set(key, weights)
    const bias = role.bias && { ...role.bias, dims: [weights.outputs] }
    if (bias !== undefined) editor.setInitializer(bias)
    form.replace(editor, layer, weights, bias)
    quantized++
  }
  const notes = notesByReason(left)
  if (quantized === 0) throw nothingToQuantize(notes)
  editor.prune()
  const opsets = options.form === 'dequantize' ? [] : [['com.microsoft', 1] as const]
  return {
    model: { ...prepared, opsetImports: new Map([...prepared.opsetImports, ...opsets]), graph: editor.build() },
    notes,
  }
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
