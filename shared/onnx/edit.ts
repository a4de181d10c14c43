import type { Graph, Node, Tensor, ValueInfo } from './graph.ts'
import { constantOf } from './graph-index.ts'
import { namesIn, renameReads } from './names.ts'
import { neededValues, topologicalOrder } from './topology.ts'

/**
 * A graph being rewritten by a pass. Every step costs what it touches; order is not the caller's concern, since
 * {@link GraphEditor.build} sorts.
 *
 * A node handle stays good when {@link GraphEditor.replaceUses} rewires it: the editor then knows the old object as the
 * new one. Using a node that was removed is a RangeError.
 */
export interface GraphEditor {
  /** The nodes of this moment in the order they came in; nodes edited during the loop come out as they then are, removed ones not. */
  nodes(): Iterable<Node>
  producer(value: string): Node | undefined
  /** Nodes that read `value` as an input or capture it in a subgraph, each once. */
  consumers(value: string): readonly Node[]
  isGraphInput(value: string): boolean
  isGraphOutput(value: string): boolean
  initializer(value: string): Tensor | undefined
  /** The value's tensor when it is an initializer or made by a Constant node. */
  constant(value: string): Tensor | undefined
  /** A name that no value and no node of this graph or its subgraphs has, nor was handed out before. */
  freshName(hint: string): string

  add(...nodes: readonly Node[]): void
  replace(node: Node, ...by: readonly Node[]): void
  remove(node: Node): void
  setInitializer(tensor: Tensor): void
  removeInitializer(name: string): void
  setValueInfo(info: ValueInfo): void
  /** Makes what reads `value`, captures included, read `by`. Graph outputs keep their names: see {@link bypass}. */
  replaceUses(value: string, by: string, where?: (consumer: Node) => boolean): void
  /**
   * Takes out a node that hands its first input on as its only used output, keeping the names of graph outputs. `false`,
   * and nothing done, when input and output are both names the graph promises.
   */
  bypass(node: Node): boolean
  /** Removes nodes whose outputs nothing needs and initializers that nothing reads. */
  prune(): void
  /** The edited graph; the very object given to `editGraph` when nothing differs. @throws EdgefitError MODEL_INVALID for a cycle. */
  build(): Graph
}

/**
 * `names`: what must not be given to a new value or node, extended by what is handed out. To edit a subgraph, give it
 * `namesIn` of the main graph: one name means one thing in all of a model.
 */
export function editGraph(graph: Graph, names?: Set<string>): GraphEditor {
  // Nodes by slot, so that a node that takes another's place keeps its position.
  const slots = new Map<number, Node>()
  const slotOf = new Map<Node, number>()
  let nextSlot = 0
  const rewired = new Map<Node, Node>()
  const producers = new Map<string, Node>()
  const readers = new Map<string, Set<Node>>()
  const initializers = new Map(graph.initializers)
  const valueInfo = new Map(graph.valueInfo)
  let inputs = graph.inputs
  const promised = new Set(graph.outputs.map((output) => output.name))
  let taken = names
  const suffixes = new Map<string, number>()

  function attach(node: Node, slot = nextSlot++): void {
    const outputs = node.outputs.filter((output) => output !== '')
    for (const output of outputs) {
      if (producers.has(output)) throw new RangeError(`value "${output}" already has a producer`)
    }
    slots.set(slot, node)
    slotOf.set(node, slot)
    for (const output of outputs) {
      producers.set(output, node)
      taken?.add(output)
    }
    for (const value of neededValues(node)) {
      const set = readers.get(value)
      if (set === undefined) readers.set(value, new Set([node]))
      else set.add(node)
    }
    taken?.add(node.name)
  }

  function detach(node: Node): void {
    const slot = slotOf.get(node)
    if (slot !== undefined) slots.delete(slot)
    release(node)
  }

  function release(node: Node): void {
    slotOf.delete(node)
    for (const output of node.outputs) producers.delete(output)
    for (const value of neededValues(node)) readers.get(value)?.delete(node)
  }

  function replace(node: Node, by: readonly Node[]): void {
    const slot = slotOf.get(node)
    if (by.length === 0) detach(node)
    else release(node)
    for (const [position, next] of by.entries()) attach(next, position === 0 ? slot : undefined)
  }

  function current(handle: Node): Node | undefined {
    let node: Node | undefined = handle
    while (node !== undefined && !slotOf.has(node)) node = rewired.get(node)
    return node
  }

  function liveNode(handle: Node): Node {
    const node = current(handle)
    if (node === undefined) throw new RangeError(`node "${handle.name}" (${handle.opType}) is not in the graph`)
    return node
  }

  function rewire(node: Node, changed: Node): void {
    replace(node, [changed])
    rewired.set(node, changed)
  }

  function replaceUses(value: string, by: string, where: (consumer: Node) => boolean): void {
    for (const node of [...(readers.get(value) ?? [])]) {
      if (where(node)) rewire(node, renameReads(node, value, by))
    }
  }

  function bypass(handle: Node): boolean {
    const node = liveNode(handle)
    const input = node.inputs[0] ?? ''
    const output = node.outputs[0] ?? ''
    const source = producers.get(input)
    if (!promised.has(output)) {
      detach(node)
      replaceUses(output, input, () => true)
      return true
    }
    if (source === undefined || promised.has(input)) return false
    detach(node)
    rewire(source, { ...source, outputs: source.outputs.map((name) => (name === input ? output : name)) })
    replaceUses(input, output, () => true)
    return true
  }

  function prune(): void {
    const isNeeded = (value: string): boolean => promised.has(value) || (readers.get(value)?.size ?? 0) > 0
    const pending = [...slots.values()]
    for (let node = pending.pop(); node !== undefined; node = pending.pop()) {
      if (!slotOf.has(node) || node.outputs.some((output) => output !== '' && isNeeded(output))) continue
      detach(node)
      for (const value of neededValues(node)) {
        const producer = producers.get(value)
        if (producer !== undefined) pending.push(producer)
      }
    }
    for (const name of initializers.keys()) if (!isNeeded(name)) removeInitializer(name)
  }

  function removeInitializer(name: string): void {
    initializers.delete(name)
    // Without its default the input would ask the caller for a value that nothing reads.
    if (graph.initializers.has(name) && inputs.some((input) => input.name === name)) {
      inputs = inputs.filter((input) => input.name !== name)
    }
  }

  function freshName(hint: string): string {
    taken ??= namesIn({ ...graph, nodes: [...slots.values()], initializers, inputs })
    let name = hint
    let suffix = suffixes.get(hint) ?? 0
    while (taken.has(name)) name = `${hint}_${++suffix}`
    suffixes.set(hint, suffix)
    taken.add(name)
    return name
  }

  function build(): Graph {
    const nodes = topologicalOrder([...slots.values()])
    for (const name of valueInfo.keys()) {
      if (!producers.has(name) && !initializers.has(name) && !keptUnmade.has(name)) valueInfo.delete(name)
    }
    const same =
      sameItems(nodes, graph.nodes) &&
      sameEntries(initializers, graph.initializers) &&
      sameEntries(valueInfo, graph.valueInfo) &&
      inputs === graph.inputs
    return same ? graph : { ...graph, nodes, initializers, inputs, valueInfo }
  }

  for (const node of graph.nodes) attach(node)
  // Value infos that were about nothing from the start are not this edit's to remove.
  const keptUnmade = new Set([...valueInfo.keys()].filter((name) => !producers.has(name) && !initializers.has(name)))

  return {
    *nodes() {
      for (const node of [...slots.values()]) {
        const now = current(node)
        if (now !== undefined) yield now
      }
    },
    producer: (value) => producers.get(value),
    consumers: (value) => [...(readers.get(value) ?? [])],
    isGraphInput: (value) => inputs.some((input) => input.name === value),
    isGraphOutput: (value) => promised.has(value),
    initializer: (value) => initializers.get(value),
    constant: (value) => {
      const producer = producers.get(value)
      return producer === undefined ? initializers.get(value) : constantOf(producer)
    },
    freshName,
    add: (...nodes) => {
      for (const node of nodes) attach(node)
    },
    replace: (handle, ...by) => {
      const node = liveNode(handle)
      if (by.length !== 1 || by[0] !== node) replace(node, by)
    },
    remove: (handle) => detach(liveNode(handle)),
    setInitializer: (tensor) => {
      initializers.set(tensor.name, tensor)
      taken?.add(tensor.name)
    },
    removeInitializer,
    setValueInfo: (info) => {
      valueInfo.set(info.name, info)
    },
    replaceUses: (value, by, where = () => true) => replaceUses(value, by, where),
    bypass,
    prune,
    build,
  }
}

function sameItems<Item>(left: readonly Item[], right: readonly Item[]): boolean {
  return left === right || (left.length === right.length && left.every((item, position) => item === right[position]))
}

function sameEntries<Value>(left: ReadonlyMap<string, Value>, right: ReadonlyMap<string, Value>): boolean {
  return left.size === right.size && [...left].every(([name, value]) => right.get(name) === value)
}
