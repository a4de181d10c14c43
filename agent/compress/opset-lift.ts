import { EdgefitError } from '@edgefit/shared'
import {
  type Attribute,
  asFloat32,
  type Dim,
  editGraph,
  floatAttribute,
  floatTensor,
  type GraphEditor,
  type GraphIndex,
  indexGraph,
  int64Tensor,
  intAttribute,
  intsAttribute,
  intValue,
  type Model,
  node as makeNode,
  type Node,
  stringAttribute,
  stringValue,
  subgraphs,
  type Tensor,
} from '@edgefit/shared/onnx'
import { nodeLabel } from './node-label.ts'

/** The first opset whose DequantizeLinear takes a scale per channel, and the IR version that came with it. */
const TARGET = 13
const TARGET_IR = 7
/** Before opset 7, operators broadcast by an attribute. */
const OLDEST = 7

/**
 * Rewrites a model of opset 7 to 12 so that it means the same in opset 13, which per-channel quantization needs. Newer
 * models are returned as they are.
 *
 * @throws EdgefitError MODEL_UNSUPPORTED naming the node whose change between the opsets is not known here.
 */
export function liftOpset(model: Model): Model {
  const opset = model.opsetImports.get('') ?? TARGET
  if (opset >= TARGET) return model
  if (opset < OLDEST) {
    throw new EdgefitError(
      `the model uses opset ${opset}; quantization needs ${OLDEST} or newer: export the model again with opset ${TARGET}`,
      { code: 'MODEL_UNSUPPORTED', details: { opset } },
    )
  }
  const editor = editGraph(model.graph)
  const index = indexGraph(model.graph)
  for (const node of editor.nodes()) {
    if (node.domain === '') liftNode(editor, index, node, opset)
  }
  return {
    ...model,
    irVersion: Math.max(model.irVersion, TARGET_IR),
    opsetImports: new Map([...model.opsetImports, ['', TARGET]]),
    graph: editor.build(),
  }
}

function liftNode(editor: GraphEditor, index: GraphIndex, node: Node, opset: number): void {
  if (subgraphs(node).length > 0) throw unsupported(node, opset)
  if (UNCHANGED.has(node.opType)) return
  const lift = LIFTS.get(node.opType)
  if (lift === undefined || !lift({ editor, index, node })) throw unsupported(node, opset)
}

/** Operators that mean in opset 13 what they meant in 7 (or wherever after it they came in). */
const UNCHANGED: ReadonlySet<string> = new Set(
  `Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool Cast Ceil Concat Constant
  ConstantOfShape Conv ConvInteger ConvTranspose Cos Cosh DepthToSpace DequantizeLinear Div Elu Equal Erf Exp Expand
  EyeLike Flatten Floor GRU Gather GatherElements GatherND Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool Greater
  HardSigmoid Identity InstanceNormalization IsNaN LRN LSTM LeakyRelu Less Log LpNormalization LpPool MatMul
  MatMulInteger Max MaxPool Mean Min Mod Mul Neg NonZero Not OneHot Or PRelu Pow QLinearConv QLinearMatMul
  QuantizeLinear RNN Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin
  ReduceProd ReduceSumSquare Relu Reshape Round ScatterElements ScatterND Selu Shape Sigmoid Sign Sin Sinh Size
  Softplus Softsign SpaceToDepth Sqrt Sub Sum Tan Tanh ThresholdedRelu Tile Transpose Where Xor`.split(/\s+/),
)

interface Lift {
  readonly editor: GraphEditor
  readonly index: GraphIndex
  readonly node: Node
}

/** Each rewrites the node, or returns `false` where it cannot keep the meaning. */
const LIFTS: ReadonlyMap<string, (lift: Lift) => boolean> = new Map<string, (lift: Lift) => boolean>([
  ['Squeeze', (lift) => attributesToInputs(lift, ['axes'])],
  ['Unsqueeze', (lift) => attributesToInputs(lift, ['axes'])],
  ['ReduceSum', (lift) => attributesToInputs(lift, ['axes'])],
  ['Split', (lift) => attributesToInputs(lift, ['split'])],
  ['Slice', (lift) => attributesToInputs(lift, ['starts', 'ends', 'axes'])],
  ['TopK', (lift) => attributesToInputs(lift, ['k'])],
  ['BatchNormalization', liftBatchNormalization],
  ['Clip', liftClip],
  ['Pad', liftPad],
  ['Dropout', liftDropout],
  ['Upsample', liftResize],
  ['Resize', liftResize],
  ['Softmax', liftSoftmax],
  ['LogSoftmax', liftSoftmax],
])

/** Attributes that became int64 inputs, in their order after the data. Nodes that have them as inputs already stay. */
function attributesToInputs({ editor, node }: Lift, names: readonly string[]): boolean {
  const [data = '', ...rest] = node.inputs
  const inputs = names.map((name, position) => {
    const ints =
      node.attributes.get(name)?.kind === 'INT' ? [intAttribute(node, name, 0)] : intsAttribute(node, name, undefined)
    return ints === undefined ? (rest[position] ?? '') : int64Input(editor, node, name, ints)
  })
  editor.replace(node, {
    ...node,
    inputs: trimmed([data, ...inputs, ...rest.slice(names.length)]),
    attributes: without(node, names),
  })
  return true
}

/** `spatial`, gone since opset 9, gave each element its own parameters when 0. */
function liftBatchNormalization({ editor, node }: Lift): boolean {
  if (intAttribute(node, 'spatial', 1) !== 1) return false
  if (node.attributes.has('spatial')) editor.replace(node, { ...node, attributes: without(node, ['spatial']) })
  return true
}

function liftClip({ editor, node }: Lift): boolean {
  if (node.inputs.length > 1) return true
  const bounds = ['min', 'max'].map((name) => {
    const value = floatAttribute(node, name, undefined)
    return value === undefined ? '' : floatInput(editor, node, name, value)
  })
  editor.replace(node, {
    ...node,
    inputs: trimmed([...node.inputs, ...bounds]),
    attributes: without(node, ['min', 'max']),
  })
  return true
}

function liftPad({ editor, node }: Lift): boolean {
  if (node.inputs.length > 1) return true
  const pads = int64Input(editor, node, 'pads', intsAttribute(node, 'pads', []))
  const value = floatInput(editor, node, 'value', floatAttribute(node, 'value', 0))
  editor.replace(node, { ...node, inputs: [...node.inputs, pads, value], attributes: without(node, ['pads', 'value']) })
  return true
}

/** Outside training it is the identity; `ratio` does not matter. */
function liftDropout({ editor, node }: Lift): boolean {
  if ((node.outputs[1] ?? '') !== '') return false
  editor.replace(node, {
    ...node,
    inputs: node.inputs.slice(0, 1),
    outputs: node.outputs.slice(0, 1),
    attributes: without(node, ['ratio']),
  })
  return true
}

/** Upsample, and Resize of opset 10, sample as Resize does with these modes. Opset 11 spells them out. */
function liftResize({ editor, node }: Lift): boolean {
  if (node.opType === 'Resize' && node.inputs.length > 2) return true
  const attribute = node.attributes.get('scales')
  const [data = '', given = ''] = node.inputs
  const scales = attribute?.kind === 'FLOATS' ? floatsInput(editor, node, 'scales', attribute.value) : given
  const mode = stringAttribute(node, 'mode', 'nearest')
  const rounding = mode === 'nearest' ? nearestMode(node, editor.constant(scales)) : 'floor'
  if (scales === '' || rounding === undefined) return false
  editor.replace(node, {
    ...node,
    opType: 'Resize',
    inputs: [data, '', scales],
    attributes: new Map([
      ['mode', stringValue(mode)],
      ['coordinate_transformation_mode', stringValue('asymmetric')],
      ['nearest_mode', stringValue(rounding)],
    ]),
  })
  return true
}

/** onnxruntime rounds up where opset 10 shrinks and down where it enlarges; one node of opset 13 can do only one. */
function nearestMode(node: Node, scales: Tensor | undefined): 'floor' | 'ceil' | undefined {
  if (node.opType === 'Upsample') return 'floor'
  if (scales?.dataType !== 'FLOAT') return undefined
  const factors = asFloat32(scales)
  if (factors.every((factor) => factor >= 1)) return 'floor'
  return factors.every((factor) => factor <= 1) ? 'ceil' : undefined
}

/** Up to opset 12 it is taken over all axes from `axis` on, by default 1; from 13 on over that axis alone. */
function liftSoftmax({ editor, index, node }: Lift): boolean {
  const [input = ''] = node.inputs
  const [output = ''] = node.outputs
  const axis = intAttribute(node, 'axis', 1)
  const shape = index.shapeOf(input) ?? index.shapeOf(output)
  if (shape !== undefined && onlyLastMatters(shape, axis)) {
    editor.replace(node, { ...node, attributes: new Map([...node.attributes, ['axis', intValue(axis)]]) })
    return true
  }
  const [flat, soft, dims] = ['flat', 'soft', 'dims'].map((part) => editor.freshName(`${output}/${part}`))
  if (flat === undefined || soft === undefined || dims === undefined) return false
  editor.replace(
    node,
    makeNode({ opType: 'Shape', inputs: [input], outputs: [dims] }),
    makeNode({ opType: 'Flatten', inputs: [input], outputs: [flat], attributes: { axis: intValue(axis) } }),
    { ...node, inputs: [flat], outputs: [soft], attributes: new Map([['axis', intValue(-1)]]) },
    makeNode({
      opType: 'Reshape',
      name: editor.freshName(`${output}/reshape`),
      inputs: [soft, dims],
      outputs: [output],
    }),
  )
  return true
}

function onlyLastMatters(shape: readonly Dim[], axis: number): boolean {
  const from = axis < 0 ? axis + shape.length : axis
  return shape.slice(from + 1).every((dim) => dim === 1)
}

function int64Input(editor: GraphEditor, node: Node, name: string, values: readonly number[]): string {
  const tensor = int64Tensor(editor.freshName(`${nodeLabel(node)}/${name}`), [values.length], values)
  editor.setInitializer(tensor)
  return tensor.name
}

function floatInput(editor: GraphEditor, node: Node, name: string, value: number): string {
  const tensor = floatTensor(editor.freshName(`${nodeLabel(node)}/${name}`), [], Float32Array.of(value))
  editor.setInitializer(tensor)
  return tensor.name
}

function floatsInput(editor: GraphEditor, node: Node, name: string, values: readonly number[]): string {
  const tensor = floatTensor(editor.freshName(`${nodeLabel(node)}/${name}`), [values.length], Float32Array.from(values))
  editor.setInitializer(tensor)
  return tensor.name
}

function without({ attributes }: Node, names: readonly string[]): ReadonlyMap<string, Attribute> {
  return new Map([...attributes].filter(([name]) => !names.includes(name)))
}

/** Optional inputs left out at the end are not written. */
function trimmed(inputs: readonly string[]): readonly string[] {
  return inputs.slice(0, inputs.findLastIndex((input) => input !== '') + 1)
}

function unsupported(node: Node, opset: number): EdgefitError {
  return new EdgefitError(
    `node "${nodeLabel(node)}" (${node.opType}) cannot be carried over from opset ${opset}; export the model again with opset ${TARGET} or newer`,
    { code: 'MODEL_UNSUPPORTED', details: { node: nodeLabel(node), opType: node.opType, opset } },
  )
}
