import { EdgefitError } from '@edgefit/shared'
import type { Graph, Model, Node, Tensor, ValueInfo } from '@edgefit/shared/onnx'
import type { ExecutedGraph, ValueType } from './executed-graph.ts'

/** A model to time, and what to feed it. */
export interface TimedModel {
  readonly model: Model
  readonly inputs: ReadonlyMap<string, ValueType>
}

const PROBE: ValueType = { dataType: 'FLOAT', dims: [1] }

/**
 * A model of `copies` copies of one operator side by side: all read the same values, each has constants of its own, and
 * nothing reads what they write, so it costs no more than in a chain. The one output is a copy of the input `probe`;
 * without copies that is all there is, and a run takes what every run takes.
 *
 * To be loaded without optimizations, which might merge the copies.
 *
 * @throws EdgefitError MODEL_UNSUPPORTED for an operator that cannot stand alone
 */
export function repeatedOperator(executed: ExecutedGraph, node: Node, copies: number): TimedModel {
  const { graph } = executed.model
  const names = new Map<string, string>()
  const inputs = new Map([['probe', PROBE]])
  const initializers = new Map<string, Tensor>()
  for (const attribute of node.attributes.values()) {
    if (attribute.kind === 'GRAPH' || attribute.kind === 'GRAPHS') throw unsupported(node, 'holds a graph of its own')
  }
  for (const value of node.inputs) {
    if (value === '' || names.has(value) || graph.initializers.has(value)) continue
    const type = executed.values.get(value)
    if (type === undefined) throw unsupported(node, `reads "${value}", of which the type is not known`)
    const name = `input${names.size}`
    names.set(value, name)
    inputs.set(name, type)
  }
  const nodes = Array.from({ length: copies }, (_, copy): Node => {
    const input = (value: string, position: number): string => {
      const constant = graph.initializers.get(value)
      if (constant === undefined) return names.get(value) ?? ''
      const name = `constant${copy}.${position}`
      initializers.set(name, { ...constant, name })
      return name
    }
    const outputs = node.outputs.map((value, position) => (value === '' ? '' : `output${copy}.${position}`))
    return { ...node, name: `copy${copy}`, inputs: node.inputs.map(input), outputs }
  })
  return { model: { ...executed.model, graph: probed(nodes, initializers, inputs) }, inputs }
}

/** A model that does nothing. */
export function emptyModel(executed: ExecutedGraph): TimedModel {
  const inputs = new Map([['probe', PROBE]])
  return { model: { ...executed.model, graph: probed([], new Map(), inputs) }, inputs }
}

/** What of `executed` concerns one operator, with constants of its own, so that the rest of the model can be forgotten. */
export function operatorAlone({ model, values }: ExecutedGraph, node: Node): ExecutedGraph {
  const initializers = new Map<string, Tensor>()
  const own = new Map<string, ValueType>()
  for (const value of [...node.inputs, ...node.outputs]) {
    const constant = model.graph.initializers.get(value)
    if (constant !== undefined) initializers.set(value, { ...constant, data: constant.data.slice() })
    const type = values.get(value)
    if (type !== undefined) own.set(value, type)
  }
  const graph: Graph = { name: '', nodes: [node], initializers, inputs: [], outputs: [], valueInfo: new Map() }
  return { model: { ...model, graph }, values: own }
}

function probed(
  nodes: readonly Node[],
  initializers: ReadonlyMap<string, Tensor>,
  inputs: ReadonlyMap<string, ValueType>,
): Graph {
  const info = (name: string, { dataType, dims }: ValueType): ValueInfo => ({
    name,
    type: { kind: 'tensor', dataType, shape: dims },
  })
  const echo: Node = {
    name: 'echo',
    opType: 'Identity',
    domain: '',
    inputs: ['probe'],
    outputs: ['echoed'],
    attributes: new Map(),
  }
  return {
    name: 'timed',
    nodes: [...nodes, echo],
    initializers,
    inputs: [...inputs].map(([name, type]) => info(name, type)),
    outputs: [info('echoed', PROBE)],
    valueInfo: new Map(),
  }
}

function unsupported({ opType, name }: Node, why: string): EdgefitError {
  return new EdgefitError(`${opType} "${name}" cannot be timed alone: it ${why}`, { code: 'MODEL_UNSUPPORTED' })
}
