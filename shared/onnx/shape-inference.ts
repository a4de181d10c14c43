import type { Dim, Graph, Model, Node, Tensor, TensorType, ValueInfo } from './graph.ts'
import { constantOf } from './graph-index.ts'
import { floatsOf, knownConstant, knownInts, knownTensor } from './shapes/constant.ts'
import { commonShape } from './shapes/dims.ts'
import { ruleFor } from './shapes/registry.ts'
import { type Known, known, type RuleInput } from './shapes/rule.ts'
import { mapSubgraphs } from './subgraphs.ts'

/**
 * `model` with the type and shape of every value that can be told without running it: in `valueInfo` of its graph and of
 * the branches of If, and in more precise `outputs`.
 *
 * Lengths that depend on a symbolic dimension stay symbolic or unknown; what is inferred replaces what an earlier version
 * of the graph declared. The same object when it knew everything already. Values it cannot follow (loops, operators
 * outside ai.onnx) keep their declaration, or none.
 */
export function inferShapes(model: Model): Model {
  const opset = model.opsetImports.get('') ?? 1
  const { graph } = inferGraph(model.graph, { opset, outer: () => undefined })
  return graph === model.graph ? model : { ...model, graph }
}

/**
 * Integers and truth values of the main graph that follow from shapes and constants alone, as tensors by value: what Shape
 * and its followers compute where lengths are fixed.
 */
export function inferConstants(model: Model): ReadonlyMap<string, Tensor> {
  const opset = model.opsetImports.get('') ?? 1
  const { facts } = inferGraph(model.graph, { opset, outer: () => undefined })
  const constants = new Map<string, Tensor>()
  for (const node of model.graph.nodes) {
    for (const output of node.outputs) {
      const { type, ints } = facts.get(output) ?? {}
      const tensor = type && ints && knownInts(output, type.dataType, ints)
      if (tensor !== undefined) constants.set(output, tensor)
    }
  }
  return constants
}

interface Scope {
  readonly opset: number
  /** What an enclosing graph knows of a value. */
  readonly outer: (value: string) => Fact | undefined
}

/** {@link Known} plus the tensor of a constant. */
interface Fact extends Known {
  readonly tensor?: Tensor
}

interface InferredGraph {
  readonly graph: Graph
  readonly facts: ReadonlyMap<string, Fact>
  readonly outputs: readonly Known[]
}

function inferGraph(graph: Graph, scope: Scope): InferredGraph {
  const facts = new Map<string, Fact>()
  const lookup = (value: string): Fact | undefined => facts.get(value) ?? scope.outer(value)
  for (const { name, type } of graph.inputs) if (type?.kind === 'tensor') facts.set(name, { type })
  for (const tensor of graph.initializers.values()) facts.set(tensor.name, { ...knownTensor(tensor), tensor })

  const declared = new Map([...graph.valueInfo, ...graph.outputs.map((output) => [output.name, output] as const)])
  const nodes = graph.nodes.map((node) => {
    const inferred = inferNode(node, { opset: scope.opset, outer: lookup })
    for (const [position, output] of node.outputs.entries()) {
      const fact = inferred.outputs[position] ?? {}
      const before = declared.get(output)?.type
      const type = mergeTypes(fact.type, before?.kind === 'tensor' ? before : undefined)
      if (output !== '') facts.set(output, type === undefined ? fact : { ...fact, type })
    }
    return inferred.node
  })

  const outputs = graph.outputs.map((output) => withType(output, lookup(output.name)?.type))
  const valueInfo = valueInfoOf(graph, facts)
  const same =
    nodes.every((node, position) => node === graph.nodes[position]) &&
    outputs.every((output, position) => output === graph.outputs[position]) &&
    valueInfo.size === graph.valueInfo.size &&
    [...valueInfo].every(([name, info]) => graph.valueInfo.get(name) === info)
  return {
    graph: same ? graph : { ...graph, nodes, outputs, valueInfo },
    facts,
    outputs: graph.outputs.map((output) => lookup(output.name) ?? {}),
  }
}

function valueInfoOf(graph: Graph, facts: ReadonlyMap<string, Fact>): ReadonlyMap<string, ValueInfo> {
  const isOutput = new Set(graph.outputs.map((output) => output.name))
  const valueInfo = new Map(graph.valueInfo)
  for (const node of graph.nodes) {
    for (const name of node.outputs) {
      const type = facts.get(name)?.type
      if (type !== undefined && !isOutput.has(name))
        valueInfo.set(name, withType(valueInfo.get(name) ?? { name }, type))
    }
  }
  return valueInfo
}

function inferNode(node: Node, scope: Scope): { readonly node: Node; readonly outputs: readonly Fact[] } {
  if (node.domain !== '') return { node, outputs: [] }
  if (node.opType === 'If') return inferIf(node, scope)
  if (node.opType === 'Constant') {
    const tensor = constantOf(node)
    return { node, outputs: [tensor === undefined ? knownConstant(node) : { ...knownConstant(node), tensor }] }
  }
  return { node, outputs: ruleFor(node.opType)?.(ruleInput(node, scope)) ?? [] }
}

function ruleInput(node: Node, scope: Scope): RuleInput {
  const facts = node.inputs.map((value) => (value === '' ? undefined : scope.outer(value)))
  return {
    node,
    opset: scope.opset,
    inputCount: node.inputs.length,
    hasInput: (position) => (node.inputs[position] ?? '') !== '',
    dataType: (position) => facts[position]?.type?.dataType,
    shape: (position) => facts[position]?.type?.shape,
    ints: (position) => facts[position]?.ints,
    floats: (position) => {
      const tensor = facts[position]?.tensor
      return tensor === undefined ? undefined : floatsOf(tensor)
    },
  }
}

/** A branch that is certain decides; otherwise only what both branches agree on is true. */
function inferIf(node: Node, scope: Scope): { readonly node: Node; readonly outputs: readonly Fact[] } {
  const outputs = new Map<string, readonly Known[]>()
  const inferredNode = mapSubgraphs(node, (branch, name) => {
    const inferred = inferGraph(branch, scope)
    outputs.set(name, inferred.outputs)
    return inferred.graph
  })
  const yes = outputs.get('then_branch') ?? []
  const no = outputs.get('else_branch') ?? []
  const condition = scope.outer(node.inputs[0] ?? '')?.ints?.values[0]
  const either = node.outputs.map((_, position): Known => {
    const left = yes[position]?.type
    const right = no[position]?.type
    if (left === undefined || right === undefined || left.dataType !== right.dataType) return {}
    return known(left.dataType, commonShape(left.shape, right.shape))
  })
  return {
    node: inferredNode,
    outputs: typeof condition === 'number' ? (condition === 0 ? no : yes) : either,
  }
}

/** What is inferred, with the gaps filled from what was declared. */
function mergeTypes(inferred: TensorType | undefined, declared: TensorType | undefined): TensorType | undefined {
  if (inferred === undefined) return declared
  if (declared?.shape === undefined || declared.dataType !== inferred.dataType) return inferred
  const { shape } = inferred
  if (shape === undefined) return declared
  if (shape.length !== declared.shape.length) return inferred
  return known(
    inferred.dataType,
    shape.map((dim, axis) => moreTelling(dim, declared.shape?.[axis])),
  ).type
}

function moreTelling(inferred: Dim, declared: Dim): Dim {
  return typeof inferred === 'number' ? inferred : (declared ?? inferred)
}

function withType(info: ValueInfo, type: TensorType | undefined): ValueInfo {
  return type === undefined || sameType(info.type, type) ? info : { ...info, type }
}

function sameType(left: ValueInfo['type'], right: TensorType): boolean {
  if (left?.kind !== 'tensor' || left.dataType !== right.dataType) return false
  if (left.shape === undefined || right.shape === undefined) return left.shape === right.shape
  return left.shape.length === right.shape.length && left.shape.every((dim, axis) => dim === right.shape?.[axis])
}
