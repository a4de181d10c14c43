import { EdgefitError } from '@edgefit/shared'
import type { Graph, Node, Tensor } from '@edgefit/shared/onnx'
import { refuseUnknownNodes } from '../node-label.ts'
import type { Layer } from '../operator-roles.ts'
import { notesByReason } from '../pass-report.ts'
import { type Selection, selectNodes } from './select.ts'
import { type Group, sharedGroups } from './shared-groups.ts'

/** A value that is quantized and dequantized. */
export interface Point {
  readonly tensor: string
  /**
   * `true`: every reader gets the dequantized value. `false`: a float operator makes it, and only the layers in `readers`
   * do.
   */
  readonly everywhere: boolean
  readonly readers: readonly Node[]
  /** The runtime would quantize the weights of the layer before it on its own: see {@link needsShield}. */
  readonly shielded: boolean
  /** The point whose scale and zero point this one has. */
  readonly leader: string
}

export interface LayerPlan extends Layer {
  readonly node: Node
  /** The point that the activation comes from. */
  readonly input: string
}

/** A constant operand of an operator that runs on integers. */
interface ConstantOperand {
  readonly node: Node
  readonly tensor: Tensor
}

export interface QuantizationPlan {
  readonly points: readonly Point[]
  readonly groups: readonly Group[]
  readonly layers: readonly LayerPlan[]
  readonly constants: readonly ConstantOperand[]
  /** What stays in float, and why. */
  readonly notes: readonly string[]
}

/**
 * Decides where a graph, prepared by `prepareForQuantization`, goes from float to integers and back.
 *
 * @throws EdgefitError RECIPE_INVALID when `exclude` names a node that is not there; MODEL_UNSUPPORTED when no layer can
 * be quantized.
 */
export function planQuantization(graph: Graph, exclude: readonly string[], floatStem = false): QuantizationPlan {
  refuseUnknownNodes(graph, exclude)
  const selection = selectNodes(graph, new Set(exclude), floatStem)
  const notes = notesOn(graph, selection)
  const layers = selection.nodes.flatMap((node): readonly LayerPlan[] => {
    const role = selection.roleOf(node)
    return role.kind === 'layer' ? [{ ...role, node, input: node.inputs[0] ?? '' }] : []
  })
  if (layers.length === 0) throw nothingToQuantize(notes)

  const points = pointsOf(selection)
  const { groups, leaderOf } = sharedGroups(selection, points)
  return {
    points: [...points].map(([tensor, readers]) => ({
      tensor,
      everywhere: selection.isInteger(tensor),
      readers,
      shielded: needsShield(selection, tensor),
      leader: leaderOf(tensor),
    })),
    groups,
    layers,
    constants: constantsOf(selection),
    notes,
  }
}

/** Every value that is quantized, in graph order, with the selected nodes that read it. */
function pointsOf(selection: Selection): ReadonlyMap<string, readonly Node[]> {
  const { index } = selection
  const points = new Map<string, readonly Node[]>()
  const add = (value: string): void => {
    const uses = index.consumers(value).filter((use) => selection.has(use.node))
    points.set(value, [...new Set(uses.map((use) => use.node))])
  }
  for (const node of selection.nodes) {
    for (const value of operandsOf(selection, node)) {
      if (index.constant(value) === undefined && !selection.isInteger(value) && !points.has(value)) add(value)
    }
    for (const output of node.outputs) {
      if (output !== '' && selection.isInteger(output) && !isAbsorbed(selection, output)) add(output)
    }
  }
  return points
}

function operandsOf(selection: Selection, node: Node): readonly string[] {
  const role = selection.roleOf(node)
  const positions = role.kind === 'light' ? role.operands : [0]
  return positions.map((position) => node.inputs[position] ?? '')
}

/** Whether the operator that makes `value` also does the Relu or Clip that alone reads it. */
function isAbsorbed(selection: Selection, value: string): boolean {
  const { index } = selection
  const [use, ...others] = index.consumers(value)
  if (use === undefined || others.length > 0 || index.isGraphOutput(value) || !selection.has(use.node)) return false
  const reader = selection.roleOf(use.node)
  if (reader.kind !== 'light' || reader.bounds === undefined) return false
  const producer = index.producer(value)
  const maker = producer === undefined ? undefined : selection.roleOf(producer)
  // What only moves values has the scale of its input; a Relu after a Relu is rare enough to be left as it is.
  return maker?.kind === 'layer' || (maker?.kind === 'light' && maker.bounds === undefined)
}

/**
 * Whether a layer that is to stay in float lies between a dequantized value and `tensor`.
 *
 * The runtime (`weight_bias_quantization.cc`) quantizes the weights of such a layer, coarsely, when nothing but a Relu or
 * Clip comes between it and the QuantizeLinear. The integer AveragePool that is kept away here is inexact.
 */
function needsShield(selection: Selection, tensor: string): boolean {
  const { index } = selection
  let producer = index.producer(tensor)
  while (producer !== undefined && ['Relu', 'Clip'].includes(producer.opType)) {
    producer = index.producer(producer.inputs[0] ?? '')
  }
  if (producer === undefined || selection.has(producer)) return false
  return SHIELDED.has(producer.opType) && selection.isInteger(producer.inputs[0] ?? '')
}

const SHIELDED: ReadonlySet<string> = new Set(['Conv', 'ConvTranspose', 'Gemm', 'AveragePool'])

function constantsOf(selection: Selection): readonly ConstantOperand[] {
  return selection.nodes.flatMap((node) => {
    if (selection.roleOf(node).kind !== 'light') return []
    const tensors = operandsOf(selection, node).map((value) => selection.index.constant(value))
    return tensors.flatMap((tensor) => (tensor === undefined ? [] : [{ node, tensor }]))
  })
}

function notesOn(graph: Graph, selection: Selection): readonly string[] {
  const left: { node: Node; reason: string }[] = []
  const others = new Map<string, number>()
  for (const node of graph.nodes) {
    if (selection.has(node)) continue
    const role = selection.roleOf(node)
    if (role.kind === 'float' && role.reason !== undefined) left.push({ node, reason: `in float, ${role.reason}` })
    else others.set(node.opType, (others.get(node.opType) ?? 0) + 1)
  }
  const counts = [...others].map(([opType, count]) => (count === 1 ? opType : `${opType} ×${count}`))
  const summary = `in float, without an integer kernel or between float operators: ${counts.join(', ')}`
  return [...notesByReason(left), ...(counts.length === 0 ? [] : [summary])]
}

function nothingToQuantize(notes: readonly string[]): EdgefitError {
  return new EdgefitError(
    ['the model has no Conv, Gemm or MatMul with constant float32 weights to quantize', ...notes].join('; '),
    { code: 'MODEL_UNSUPPORTED', details: { notes } },
  )
}
