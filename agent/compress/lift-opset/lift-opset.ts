import { EdgefitError } from '@edgefit/shared'
import { type Graph, localFunctions, type Model, type Node, subgraphs } from '@edgefit/shared/onnx'
import { nodeLabel } from '../node-label.ts'
import { rewriteGraphs } from '../rewrite-graphs.ts'
import { LIFTS_TO_13 } from './lifts-to-13.ts'
import { LIFTS_TO_21 } from './lifts-to-21.ts'

/** Before opset 7, operators broadcast by an attribute. */
const OLDEST = 7

/** The IR version that came with an opset. */
const IR_VERSIONS: readonly (readonly [opset: number, irVersion: number])[] = [
  [21, 10],
  [19, 9],
  [15, 8],
  [12, 7],
  [11, 6],
  [10, 5],
]

/**
 * Rewrites a model of opset 7 or newer so that it means the same in opset `version`, up to 21, nodes of subgraphs
 * included. A model that is as new already is returned as it is.
 *
 * What changed, and when: docs/Changelog.md of the ONNX repository.
 *
 * @throws EdgefitError MODEL_UNSUPPORTED naming the node whose change between the opsets is not known here, or operators
 * that the model defines itself.
 */
export function liftOpset(model: Model, version: number): Model {
  const opset = model.opsetImports.get('') ?? version
  if (opset >= version) return model
  if (opset < OLDEST) {
    throw new EdgefitError(
      `the model uses opset ${opset}, and ${OLDEST} is the oldest that can be lifted; export the model again with opset ${version}`,
      { code: 'MODEL_UNSUPPORTED', details: { opset } },
    )
  }
  const functions = localFunctions(model)
  if (functions.length > 0) {
    throw new EdgefitError(
      `the model defines operators of its own (${functions.join(', ')}), whose bodies are written for opset ${opset}; export it again without functions, or with opset ${version}`,
      { code: 'MODEL_UNSUPPORTED', details: { functions, opset, version } },
    )
  }
  let lifted = model
  // One opset after the other, so that each lift sees the form of the one before.
  for (const since of CHANGED_IN) {
    if (since > opset && since <= version) lifted = liftedTo(lifted, since, opset)
  }
  refuseUnknown(lifted.graph, opset, version)
  const irVersion = IR_VERSIONS.find(([from]) => version >= from)?.[1] ?? 0
  return {
    ...lifted,
    irVersion: Math.max(model.irVersion, irVersion),
    opsetImports: new Map([...model.opsetImports, ['', version]]),
  }
}

const LIFTS = [...LIFTS_TO_13, ...LIFTS_TO_21]
const CHANGED_IN = [...new Set(LIFTS.map(([, since]) => since))].toSorted((a, b) => a - b)

/** Operators that mean in opset 21 what they meant in 7, or wherever after it they came in. */
const UNCHANGED: ReadonlySet<string> = new Set(
  `Abs Acos Acosh Add AffineGrid And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BitShift BitwiseAnd BitwiseNot
  BitwiseOr BitwiseXor BlackmanWindow Cast CastLike Ceil Celu CenterCropPad Col2Im Compress Concat ConcatFromSequence
  Constant ConstantOfShape Conv ConvInteger ConvTranspose Cos Cosh CumSum DeformConv DepthToSpace DequantizeLinear Det Div
  DynamicQuantizeLinear Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor GRU Gather GatherElements GatherND Gelu Gemm
  GlobalAveragePool GlobalLpPool GlobalMaxPool Greater GreaterOrEqual HammingWindow HannWindow HardSigmoid HardSwish
  Identity If InstanceNormalization IsInf IsNaN LRN LSTM LayerNormalization LeakyRelu Less LessOrEqual Log Loop
  LpNormalization LpPool MatMul MatMulInteger Max MaxPool Mean MeanVarianceNormalization MelWeightMatrix Min Mish Mod Mul
  Neg NonMaxSuppression NonZero Not OneHot Or PRelu Pow QLinearConv QLinearMatMul QuantizeLinear RNN Range Reciprocal Relu
  Reshape ReverseSequence Round STFT ScatterElements ScatterND Selu SequenceAt SequenceConstruct SequenceEmpty
  SequenceErase SequenceInsert SequenceLength Shape Shrink Sigmoid Sign Sin Sinh Size Softplus Softsign SpaceToDepth
  SplitToSequence Sqrt Sub Sum Tan Tanh ThresholdedRelu Tile Transpose Trilu Unique Where Xor`.split(/\s+/),
)

/** Scan had a batch of its own before opset 9. */
const SINCE: ReadonlyMap<string, number> = new Map([['Scan', 9]])

function liftedTo(model: Model, since: number, from: number): Model {
  const lifts = new Map(LIFTS.flatMap(([opType, at, lift]) => (at === since ? [[opType, lift] as const] : [])))
  const before = { ...model, opsetImports: new Map([...model.opsetImports, ['', since - 1]]) }
  return rewriteGraphs(before, (editor, scope) => {
    for (const node of editor.nodes()) {
      const lift = node.domain === '' ? lifts.get(node.opType) : undefined
      if (lift !== undefined && !lift({ editor, scope, node })) throw unsupported(node, from, since)
    }
  })
}

const KNOWN: ReadonlySet<string> = new Set([...UNCHANGED, ...LIFTS.map(([opType]) => opType)])

function refuseUnknown(graph: Graph, opset: number, version: number): void {
  for (const node of graph.nodes) {
    const isKnown = KNOWN.has(node.opType) || opset >= (SINCE.get(node.opType) ?? Number.POSITIVE_INFINITY)
    if (node.domain === '' && !isKnown) throw unsupported(node, opset, version)
    for (const [, inner] of subgraphs(node)) refuseUnknown(inner, opset, version)
  }
}

function unsupported(node: Node, opset: number, version: number): EdgefitError {
  return new EdgefitError(
    `node "${nodeLabel(node)}" (${node.opType}) cannot be carried over from opset ${opset} to ${version}; export the model again with opset ${version} or newer`,
    { code: 'MODEL_UNSUPPORTED', details: { node: nodeLabel(node), opType: node.opType, opset, version } },
  )
}
