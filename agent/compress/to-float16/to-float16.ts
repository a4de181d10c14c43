import { EdgefitError } from '@edgefit/shared'
import {
  editGraph,
  type GraphEditor,
  type GraphIndex,
  indexGraph,
  inferShapes,
  intValue,
  type Model,
  type Node,
  node,
} from '@edgefit/shared/onnx'
import { nodeLabel, refuseUnknownNodes } from '../node-label.ts'
import { notesByReason, type PassResult } from '../pass-report.ts'
import { simplify } from '../simplify.ts'
import { type HalfConstants, halfConstants, saturationNotes } from './half-constants.ts'

export interface Float16Options {
  /**
   * `float32`: weights are stored as float16 and cast back, which the runtime does once, as it loads. `float16`: what
   * multiplies by weights, and what follows it, is computed in float16, with Casts at the borders.
   */
  readonly compute: 'float32' | 'float16'
  /** Labels of nodes to leave as they are. */
  readonly keep: readonly string[]
}

/**
 * Half the bytes, at the precision of float16. Inputs and outputs of the model stay float32.
 *
 * @throws EdgefitError MODEL_UNSUPPORTED when the model has no float32 weights to convert; RECIPE_INVALID when `keep`
 * names what is not there; MODEL_INVALID for weights that are NaN.
 */
export function toFloat16(model: Model, options: Float16Options): PassResult {
  const folded = simplify(model)
  refuseUnknownNodes(folded.graph, options.keep)
  const keep = new Set(options.keep)
  const index = indexGraph(inferShapes(folded).graph)
  const editor = editGraph(folded.graph)
  const halves = halfConstants(editor, folded.graph)
  const left: { node: Node; reason: string }[] = []
  if (options.compute === 'float16') computeInHalf(editor, index, halves, keep, left)
  storeInHalf(editor, halves, keep)
  editor.prune()
  const graph = editor.build()
  const used = halves.made().filter(({ name }) => graph.initializers.has(name))
  if (used.length === 0) {
    throw new EdgefitError('the model has no float32 weights that float16 would make smaller', {
      code: 'MODEL_UNSUPPORTED',
    })
  }
  return { model: { ...folded, graph }, notes: [...notesByReason(left), ...saturationNotes(used)] }
}

/** Operators that give the quality and the cost of a model. */
const SEEDS: ReadonlySet<string> = new Set(['Conv', 'ConvTranspose', 'Gemm', 'MatMul'])

/** Operators that go along when what they read is float16 already: all their float operands have one type. */
const FOLLOWERS: ReadonlySet<string> = new Set(
  `Add AveragePool Clip Concat Div Expand Flatten Gather GlobalAveragePool GlobalMaxPool HardSigmoid HardSwish
  LeakyRelu Max MaxPool Min Mul PRelu Pad Relu Reshape Sigmoid Slice Split Squeeze Sub Tanh Tile Transpose Unsqueeze
  Where`.split(/\s+/),
)

function computeInHalf(
  editor: GraphEditor,
  index: GraphIndex,
  halves: HalfConstants,
  keep: ReadonlySet<string>,
  left: { node: Node; reason: string }[],
): void {
  const halfOf = new Map<string, string>()
  const isFloat = (value: string): boolean => value !== '' && index.typeOf(value)?.dataType === 'FLOAT'
  for (const one of editor.nodes()) {
    if (one.domain !== '' || !one.outputs.some(isFloat)) continue
    const follows = FOLLOWERS.has(one.opType) && one.inputs.some((value) => halfOf.has(value))
    if (!SEEDS.has(one.opType) && !follows) {
      if (one.inputs.some((value) => halfOf.has(value))) left.push({ node: one, reason: 'in float32' })
      continue
    }
    if (keep.has(nodeLabel(one))) {
      left.push({ node: one, reason: 'in float32, the recipe keeps it' })
      continue
    }
    const inputs = one.inputs.map((value) => {
      if (!isFloat(value)) return value
      const known = halfOf.get(value) ?? halves.named(value)
      if (known !== undefined) return known
      const half = cast(editor, value, `${value}/float16`, FLOAT16)
      halfOf.set(value, half)
      return half
    })
    const outputs = one.outputs.map((value) => {
      if (!isFloat(value)) return value
      const half = editor.freshName(`${value}/float16`)
      halfOf.set(value, half)
      return half
    })
    editor.replace(one, { ...one, inputs, outputs })
    for (const value of one.outputs) {
      const half = halfOf.get(value)
      if (half !== undefined) editor.add(castNode(half, value, FLOAT))
    }
  }
}

/** What still reads a large float32 constant gets it from a float16 one. */
function storeInHalf(editor: GraphEditor, halves: HalfConstants, keep: ReadonlySet<string>): void {
  const converts = (reader: Node): boolean =>
    reader.domain === '' && !OF_QUANTIZATION.has(reader.opType) && !keep.has(nodeLabel(reader))
  for (const value of halves.large) {
    if (!editor.consumers(value).some(converts)) continue
    const half = halves.named(value)
    if (half !== undefined) editor.replaceUses(value, cast(editor, half, `${value}/float32`, FLOAT), converts)
  }
}

/** Their scales have to stay as they were calibrated. */
const OF_QUANTIZATION: ReadonlySet<string> = new Set(['QuantizeLinear', 'DequantizeLinear', 'Cast'])

/** TensorProto.DataType. */
const FLOAT = 1
const FLOAT16 = 10

function cast(editor: GraphEditor, value: string, hint: string, to: number): string {
  const output = editor.freshName(hint)
  editor.add(castNode(value, output, to))
  return output
}

function castNode(value: string, output: string, to: number): Node {
  return node({
    opType: 'Cast',
    name: `${output}/cast`,
    inputs: [value],
    outputs: [output],
    attributes: { to: intValue(to) },
  })
}
