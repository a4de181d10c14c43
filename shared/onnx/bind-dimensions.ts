import { EdgefitError } from '../errors.ts'
import type { Dim, Graph, Model, ValueInfo } from './graph.ts'
import { mapSubgraphs } from './subgraphs.ts'

/**
 * `model` with symbolic dimensions fixed: `bindDimensions(model, { batch: 1 })`. Runtimes plan memory better for fixed
 * shapes, and costs are numbers only then. The same object when `lengths` is empty.
 *
 * @throws EdgefitError INPUT_INVALID for a name that no input has, listing those there are, or a length that is no count.
 */
export function bindDimensions(model: Model, lengths: Readonly<Record<string, number>>): Model {
  const names = Object.keys(lengths)
  if (names.length === 0) return model
  const available = symbolicDimensions(model)
  for (const name of names) {
    if (!available.has(name)) {
      const choices = [...available].map((symbol) => `"${symbol}"`).join(', ') || 'none'
      throw new EdgefitError(`no input has a dimension "${name}"; symbolic dimensions are: ${choices}`, {
        code: 'INPUT_INVALID',
        details: { dimension: name, available: [...available] },
      })
    }
    if (!Number.isSafeInteger(lengths[name]) || (lengths[name] ?? 0) < 1) {
      throw new EdgefitError(`dimension "${name}" cannot be ${lengths[name]}; give a whole number from 1`, {
        code: 'INPUT_INVALID',
        details: { dimension: name },
      })
    }
  }
  const bound = new Map(Object.entries(lengths))
  return { ...model, graph: bindGraph(model.graph, (dim) => (typeof dim === 'string' ? (bound.get(dim) ?? dim) : dim)) }
}

/** Names of the symbolic dimensions of the graph's inputs. */
export function symbolicDimensions(model: Model): ReadonlySet<string> {
  const dims = model.graph.inputs.flatMap(({ type }) => (type?.kind === 'tensor' ? (type.shape ?? []) : []))
  return new Set(dims.filter((dim) => typeof dim === 'string'))
}

function bindGraph(graph: Graph, bind: (dim: Dim) => Dim): Graph {
  const info = (value: ValueInfo): ValueInfo =>
    value.type?.kind === 'tensor' && value.type.shape !== undefined
      ? { ...value, type: { ...value.type, shape: value.type.shape.map(bind) } }
      : value
  return {
    ...graph,
    nodes: graph.nodes.map((node) => mapSubgraphs(node, (inner) => bindGraph(inner, bind))),
    inputs: graph.inputs.map(info),
    outputs: graph.outputs.map(info),
    valueInfo: new Map([...graph.valueInfo].map(([name, value]) => [name, info(value)])),
  }
}
