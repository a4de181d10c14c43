import { elementCount, type Graph, type GraphIndex, indexGraph, intAttribute, type Node } from '@edgefit/shared/onnx'
import { nodeLabel } from '../node-label.ts'
import { type Role, roleOf } from '../operator-roles.ts'

/** Which nodes of a graph are to run on integers. */
export interface Selection {
  readonly index: GraphIndex
  /** In graph order. */
  readonly nodes: readonly Node[]
  has(node: Node): boolean
  roleOf(node: Node): Role
  /** Whether `value` comes out of a selected node as integers. */
  isInteger(value: string): boolean
}

/**
 * All layers with constant weights, and of the operators between them those for which integers save conversions: every
 * operand already is integers, or is made into integers for a layer anyway, and something that wants integers reads the
 * output.
 *
 * `exclude`: labels ({@link nodeLabel}) of nodes to leave in float. `floatStem`: leave convolutions in float that
 * {@link isStem} is true for, where others are left to quantize.
 */
export function selectNodes(graph: Graph, exclude: ReadonlySet<string>, floatStem = false): Selection {
  const inFloat = new Map(
    graph.nodes.flatMap((node) => (exclude.has(nodeLabel(node)) ? [[node, EXCLUDED] as const] : [])),
  )
  const selection = select(graph, inFloat)
  if (!floatStem) return selection
  // As if nothing were excluded: what comes after an excluded layer is no stem, though its input is made in float too.
  const whole = inFloat.size === 0 ? selection : select(graph, new Map())
  const stems = new Map(graph.nodes.flatMap((node) => (isStem(whole, node) ? [[node, STEM] as const] : [])))
  const isOtherLayer = (node: Node) => selection.roleOf(node).kind === 'layer' && !stems.has(node)
  return selection.nodes.some(isOtherLayer) ? select(graph, new Map([...stems, ...inFloat])) : selection
}

function select(graph: Graph, inFloat: ReadonlyMap<Node, Role>): Selection {
  const index = indexGraph(graph)
  const roles = new Map<Node, Role>()
  const selected = new Set<Node>()
  for (const node of graph.nodes) {
    const role = inFloat.get(node) ?? roleOf(node, (value) => index.constant(value))
    roles.set(node, role)
    if (role.kind !== 'float') selected.add(node)
  }
  const selection: Selection = {
    index,
    nodes: [],
    has: (node) => selected.has(node),
    roleOf: (node) => roles.get(node) ?? EXCLUDED,
    isInteger: (value) => isInteger(selection, value),
  }
  dropWorthless(selection, selected)
  return { ...selection, nodes: graph.nodes.filter((node) => selected.has(node)) }
}

/** Taking a node out can only make others not worth it: repeats until nothing changes. */
function dropWorthless(selection: Selection, selected: Set<Node>): void {
  for (let changed = true; changed; ) {
    changed = false
    for (const node of selected) {
      if (isWorthIt(selection, node)) continue
      selected.delete(node)
      changed = true
    }
  }
}

/** Of 147 inputs an output, as in ResNet-50, the integer kernel is faster; of 40, as for keywords, it is not. */
const STEM_INPUTS = 64

/**
 * Whether `node` is a convolution of few inputs an output that alone wants integers of a value made in float: mostly the
 * first one. Quantizing that value, and kernels that want long rows, then cost more than integers save.
 */
function isStem(selection: Selection, node: Node): boolean {
  const role = selection.roleOf(node)
  const [input = ''] = node.inputs
  if (role.kind !== 'layer' || node.opType !== 'Conv' || !selection.has(node) || selection.isInteger(input))
    return false
  if (intAttribute(node, 'group', 1) !== 1 || elementCount(role.weights.dims.slice(1)) > STEM_INPUTS) return false
  return selection.index.consumers(input).every((use) => use.node === node || !selection.has(use.node))
}

const STEM: Role = {
  kind: 'float',
  reason: 'it has few inputs an output, and nothing else wants its input in integers',
}

const EXCLUDED: Role = { kind: 'float', reason: 'the recipe excludes it' }

function isInteger(selection: Selection, value: string): boolean {
  const producer = selection.index.producer(value)
  if (producer === undefined || !selection.has(producer)) return false
  const role = selection.roleOf(producer)
  if (role.kind !== 'layer' || !role.floatOutput) return true
  return onlyIntegersWanted(selection, value)
}

function onlyIntegersWanted({ index, has }: Selection, value: string): boolean {
  const uses = index.consumers(value)
  return uses.length > 0 && !index.isGraphOutput(value) && uses.every((use) => use.input !== undefined && has(use.node))
}

function isWorthIt(selection: Selection, node: Node): boolean {
  const role = selection.roleOf(node)
  if (role.kind === 'layer') return true
  if (role.kind === 'float') return false
  const operands = role.kind === 'passing' ? [node.inputs[0] ?? ''] : role.operands.map((at) => node.inputs[at] ?? '')
  const variable = operands.filter((value) => selection.index.constant(value) === undefined)
  if (!variable.some((value) => selection.isInteger(value))) return false
  if (!variable.every((value) => selection.isInteger(value) || isReadByLayer(selection, value))) return false
  if (variable.length < operands.length && variable.some((value) => isFloatForFree(selection, value))) return false
  if (role.reduces === true || node.outputs.some((output) => isWanted(selection, output))) return true
  return role.kind === 'light' && role.bounds !== undefined && isFree(selection, variable[0] ?? '')
}

/** Whether `value` has to be quantized in any case. */
function isReadByLayer({ index, has, roleOf }: Selection, value: string): boolean {
  return index.consumers(value).some((use) => use.input === 0 && has(use.node) && roleOf(use.node).kind === 'layer')
}

/** Whether a selected node reads `value`. */
function isWanted({ index, has }: Selection, value: string): boolean {
  return index.consumers(value).some((use) => use.input !== undefined && has(use.node))
}

/**
 * Whether `value` comes from a layer that gives out floats at no cost. What adds a constant to it, a bias mostly, is as
 * fast in float and exact.
 */
function isFloatForFree({ index, roleOf }: Selection, value: string): boolean {
  const producer = index.producer(value)
  const role = producer === undefined ? undefined : roleOf(producer)
  return role?.kind === 'layer' && role.floatOutput
}

/** Whether a Relu or Clip of `value` costs nothing: a Conv gives out integers in any case and takes it in. */
function isFree({ index, roleOf }: Selection, value: string): boolean {
  const producer = index.producer(value)
  const role = producer === undefined ? undefined : roleOf(producer)
  const alone = index.consumers(value).length === 1 && !index.isGraphOutput(value)
  return alone && role?.kind === 'layer' && !role.floatOutput
}
