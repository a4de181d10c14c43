import { asInt64Numbers, type GraphIndex, indexGraph, type Model, type Node, subgraphs } from '@edgefit/shared/onnx'
import { type ChannelLabels, channelLabels, type Labels } from './channel-labels.ts'
import type { Axis, MemberRole, NodeView, Repair } from './rule.ts'
import { ruleFor } from './rules/registry.ts'

/** One axis that has labels, of an activation or of a constant. */
export interface Site {
  readonly value: string
  readonly axis: number
  readonly labels: Labels
  /** Of a constant alone. */
  readonly role?: MemberRole
}

export interface Propagation {
  readonly labels: ChannelLabels
  /** In the order in which the graph computes them. */
  readonly activations: readonly Site[]
  readonly constants: readonly Site[]
  readonly repairs: ReadonlyMap<Node, Repair>
}

/** Follows channels through the graph of `model`, whose shapes are inferred and constants folded. */
export function propagateChannels(model: Model): Propagation {
  const { graph } = model
  const index = indexGraph(graph)
  const labels = channelLabels()
  const known = new Map<string, readonly Axis[]>()
  const constants = constantAxes(index, labels)
  const repairs = new Map<Node, Repair>()

  const freezeValue = (value: string, reason: string): void => {
    for (const axis of known.get(value) ?? []) if (axis !== null) labels.freeze(axis, reason)
    if (index.initializer(value) !== undefined) constants.seal(value, reason)
  }

  for (const node of graph.nodes) {
    const rule = node.domain === '' && subgraphs(node).length === 0 ? ruleFor(node.opType) : undefined
    const opset = model.opsetImports.get('') ?? 1
    const flow =
      rule?.(nodeView(node, { opset, index, labels, known, constants })) ?? 'no rule says what it does to them'
    if (typeof flow !== 'string') {
      for (const [position, axes] of flow.outputs.entries()) known.set(node.outputs[position] ?? '', axes)
      if (flow.repair !== undefined) repairs.set(node, flow.repair)
      continue
    }
    for (const value of node.inputs) freezeValue(value, `${node.opType}: ${flow}`)
  }
  for (const value of [...known.keys(), ...graph.initializers.keys()]) {
    const captured = index.consumers(value).some(({ input }) => input === undefined)
    if (captured) freezeValue(value, 'a branch reads them')
  }
  for (const { name } of graph.outputs) freezeValue(name, 'they are an output of the model')

  const activations = [...known].flatMap(([value, axes]) =>
    axes.flatMap((axis, at) => (axis === null ? [] : [{ value, axis: at, labels: axis }])),
  )
  return { labels, activations, constants: constants.sites(), repairs }
}

interface ConstantAxes {
  axis(value: string, axis: number): Axis
  setRole(value: string, axis: number, role: MemberRole): void
  seal(value: string, reason: string): void
  sites(): readonly Site[]
}

/** Axes of constants are labelled as rules ask for them: most, those of kernels for one, never hold channels. */
function constantAxes(index: GraphIndex, labels: ChannelLabels): ConstantAxes {
  const known = new Map<string, Map<number, Labels>>()
  const roles = new Map<string, MemberRole>()
  const sealed = new Map<string, string>()
  const key = (value: string, axis: number): string => `${axis} ${value}`
  return {
    axis(value, axis) {
      const dim = index.initializer(value)?.dims[axis] ?? 1
      if (dim === 1) return null
      const axes = known.get(value) ?? new Map<number, Labels>()
      known.set(value, axes)
      const made = axes.get(axis) ?? labels.fresh(dim)
      axes.set(axis, made)
      const reason = sealed.get(value)
      if (reason !== undefined) labels.freeze(made, reason)
      return made
    },
    setRole(value, axis, role) {
      if (!roles.has(key(value, axis))) roles.set(key(value, axis), role)
    },
    seal(value, reason) {
      sealed.set(value, reason)
      for (const axis of known.get(value)?.values() ?? []) labels.freeze(axis, reason)
    },
    sites: () =>
      [...known].flatMap(([value, axes]) =>
        [...axes].map(([axis, own]) => ({
          value,
          axis,
          labels: own,
          role: roles.get(key(value, axis)) ?? 'operand',
        })),
      ),
  }
}

interface Surroundings {
  readonly opset: number
  readonly index: GraphIndex
  readonly labels: ChannelLabels
  readonly known: ReadonlyMap<string, readonly Axis[]>
  readonly constants: ConstantAxes
}

function nodeView(node: Node, { opset, index, labels, known, constants }: Surroundings): NodeView {
  const input = (position: number): string => node.inputs[position] ?? ''
  const constant = (position: number) => index.initializer(input(position))

  function axisOf(position: number, axis: number): Axis {
    const value = input(position)
    if (constant(position) !== undefined) return constants.axis(value, axis)
    return known.get(value)?.[axis] ?? null
  }

  function tie(left: Axis, right: Axis): void {
    if (left !== null && right !== null && left.length === right.length) labels.tie(left, right)
    else {
      const reason = `${node.opType}: they meet an axis that cannot lose channels`
      if (left !== null) labels.freeze(left, reason)
      if (right !== null) labels.freeze(right, reason)
    }
  }

  return {
    node,
    opset,
    labels,
    has: (position) => input(position) !== '',
    shape: (position) => index.shapeOf(input(position)),
    outputShape: (position) => index.shapeOf(node.outputs[position] ?? ''),
    constant,
    ints: (position) => {
      const tensor = constant(position)
      return tensor?.dataType === 'INT64' ? asInt64Numbers(tensor) : undefined
    },
    axis: axisOf,
    axes: (position) => (index.shapeOf(input(position)) ?? []).map((_, axis) => axisOf(position, axis)),
    setRole: (position, axis, role) => {
      if (constant(position) !== undefined) constants.setRole(input(position), axis, role)
    },
    tie,
    freeze: (axis, reason) => {
      if (axis !== null) labels.freeze(axis, reason)
    },
  }
}
