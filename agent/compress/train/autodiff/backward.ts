import { type GraphIndex, indexGraph, type Model, type Node, neededValues, subgraphs } from '@edgefit/shared/onnx'
import { nodeLabel } from '../../node-label.ts'
import type { Emitter } from './emitter.ts'
import type { GradientRefusal, GradientRequest, GradientRule } from './gradient-rule.ts'
import { GRADIENT_RULES } from './rules/registry.ts'

export interface BackwardRequest {
  /** The forward graph, with every shape known: `inferShapes(bindDimensions(…))`. */
  readonly model: Model
  /** Value of the graph → name of dL/d(value), of the value's shape, for each that the loss is computed from directly. */
  readonly seeds: ReadonlyMap<string, string>
  /** Inputs, initializers or other float values whose gradients are asked for. */
  readonly targets: readonly string[]
  /** Values taken for constants: no gradient flows through them. */
  readonly barriers?: ReadonlySet<string>
  /** Receives the backward nodes. Some may serve nothing in the end: prune the finished graph. */
  readonly emit: Emitter
  readonly rules?: ReadonlyMap<string, GradientRule>
}

export interface Backward {
  /** Target → name of dL/d(target), of its shape. */
  readonly gradients: ReadonlyMap<string, string>
  /** Targets without a gradient, and why. None is given where only a part of it could be computed. */
  readonly missing: ReadonlyMap<string, string>
  /** Nodes that no gradient passes, and why. */
  readonly frozen: readonly FrozenNode[]
  /** The nodes of the forward graph, some with more outputs than they had. */
  readonly forward: readonly Node[]
}

interface FrozenNode {
  readonly node: Node
  readonly reason: string
}

/**
 * Reverse-mode differentiation: emits nodes that compute the gradients of a loss by `targets`, given its gradients by
 * the values of `seeds`.
 *
 * Only the nodes between targets and seeds are visited. Gradients of a value with several readers add up. A node without
 * a rule, or whose rule refuses, freezes all that lies upstream of it. Integers and truth values carry no gradient,
 * except those a QuantizeLinear makes: theirs is the gradient by the real number they stand for.
 */
export function backward(request: BackwardRequest): Backward {
  const { targets, emit, rules = GRADIENT_RULES } = request
  const { nodes } = request.model.graph
  const scope: Scope = { index: indexGraph(request.model.graph), dependent: new Set(), emit, rules }
  const { dependent } = scope
  markDependent(scope, request)
  const sums = gradientSums(emit, request.seeds)
  const frozenBy = new Map<string, FrozenNode>()
  const frozen: FrozenNode[] = []

  const forward = nodes.toReversed().map((node) => {
    const upstream = neededValues(node).filter((value) => dependent.has(value))
    if (upstream.length === 0) return node
    let by = node.outputs.map((value) => frozenBy.get(value)).find((found) => found !== undefined)
    if (by === undefined) {
      const outputGradients = node.outputs.map(sums.of)
      if (outputGradients.every((gradient) => gradient === undefined)) return node
      const result = differentiate(scope, node, outputGradients)
      if (!('refused' in result)) {
        for (const [at, value] of node.inputs.entries()) if (dependent.has(value)) sums.add(value, result.gradients[at])
        return result.node
      }
      by = { node, reason: result.refused }
      frozen.push(by)
    }
    for (const value of upstream) frozenBy.set(value, by)
    return node
  })

  const gradients = new Map<string, string>()
  const missing = new Map<string, string>()
  for (const target of targets) {
    const by = frozenBy.get(target)
    const gradient = by === undefined ? sums.of(target) : undefined
    if (gradient !== undefined) gradients.set(target, gradient)
    else missing.set(target, by === undefined ? 'the loss does not depend on it' : upstreamOf(by))
  }
  return { gradients, missing, frozen, forward: forward.toReversed() }
}

interface Scope {
  readonly index: GraphIndex
  /** Values that depend on a target through values that can carry a gradient. */
  readonly dependent: Set<string>
  readonly emit: Emitter
  readonly rules: ReadonlyMap<string, GradientRule>
}

function markDependent(scope: Scope, { model, targets, barriers }: BackwardRequest): void {
  const { dependent } = scope
  for (const target of targets) dependent.add(target)
  for (const node of model.graph.nodes) {
    if (!neededValues(node).some((value) => dependent.has(value))) continue
    for (const value of node.outputs) {
      if (value !== '' && barriers?.has(value) !== true && carriesGradient(scope, node, value)) dependent.add(value)
    }
  }
}

/**
 * A value of unknown type might: to ignore it could make a gradient wrong, to follow it can only end in a refusal. So
 * might what is made of quantized values.
 */
function carriesGradient({ dependent, index }: Scope, node: Node, value: string): boolean {
  return (
    !isDiscrete(index, value) ||
    QUANTIZERS.has(node.opType) ||
    node.inputs.some((input) => dependent.has(input) && isDiscrete(index, input))
  )
}

const DISCRETE = /^(U?INT\d+|BOOL|STRING)$/
const QUANTIZERS: ReadonlySet<string> = new Set(['QuantizeLinear', 'DynamicQuantizeLinear'])

function isDiscrete(index: GraphIndex, value: string): boolean {
  return DISCRETE.test(index.typeOf(value)?.dataType ?? '')
}

function gradientSums(
  emit: Emitter,
  seeds: ReadonlyMap<string, string>,
): { add(value: string, gradient: string | undefined): void; of(value: string): string | undefined } {
  const parts = new Map([...seeds].map(([value, gradient]) => [value, [gradient]]))
  return {
    add: (value, gradient) => {
      if (gradient !== undefined) parts.set(value, [...(parts.get(value) ?? []), gradient])
    },
    of: (value) => {
      const found = parts.get(value) ?? []
      if (found.length < 2) return found[0]
      const sum = emit.add(found.length === 2 ? 'Add' : 'Sum', found)
      parts.set(value, [sum])
      return sum
    },
  }
}

function differentiate(
  { index, dependent, emit, rules }: Scope,
  node: Node,
  outputGradients: readonly (string | undefined)[],
): { readonly gradients: readonly (string | undefined)[]; readonly node: Node } | GradientRefusal {
  const rule = node.domain === '' && subgraphs(node).length === 0 ? rules.get(node.opType) : undefined
  if (rule === undefined) return { refused: 'the operator has no gradient here' }
  for (const value of [...node.inputs, ...node.outputs]) {
    if (value === '') continue
    if (!index.shapeOf(value)?.every((dim) => typeof dim === 'number')) {
      return { refused: `the shape of "${value}" is not fixed` }
    }
    const dataType = index.typeOf(value)?.dataType
    if (dependent.has(value) && dataType !== 'FLOAT' && index.producer(value)?.opType !== 'QuantizeLinear') {
      return { refused: `"${value}" is ${dataType}, not FLOAT` }
    }
  }
  const outputs = [...node.outputs]
  const request: GradientRequest = {
    node,
    outputGradients,
    wanted: node.inputs.map((value) => dependent.has(value)),
    shapeOf: (value) => (index.shapeOf(value) ?? []).map(Number),
    constant: (value) => (dependent.has(value) ? undefined : index.constant(value)),
    producer: index.producer,
    forwardOutput: (position) => {
      while (outputs.length <= position) outputs.push('')
      const name = outputs[position] || emit.freshName(`${outputs[0]}/${position}`)
      outputs[position] = name
      return name
    },
    emit,
  }
  const gradients = rule(request)
  if ('refused' in gradients) return gradients
  const asBefore = outputs.every((value, position) => value === node.outputs[position])
  return { gradients, node: asBefore ? node : { ...node, outputs } }
}

function upstreamOf({ node, reason }: FrozenNode): string {
  return `upstream of ${node.opType} "${nodeLabel(node)}": ${reason}`
}
