import {
  type Attribute,
  floatTensor,
  int64Tensor,
  intsValue,
  intValue,
  type Node,
  node,
  type Tensor,
} from '@edgefit/shared/onnx'

/** Collects the nodes and constants of a graph that is being derived from another one. Values are known by their names. */
export interface Emitter {
  /** Version of ai.onnx that the emitted nodes have to be valid in; at least 17. */
  readonly opset: number
  /** Adds a node and returns the name of its only output. */
  add(opType: string, inputs: readonly string[], attributes?: Readonly<Record<string, Attribute>>): string
  /** Adds a node of several outputs and returns their names. */
  addMany(
    opType: string,
    inputs: readonly string[],
    outputCount: number,
    attributes?: Readonly<Record<string, Attribute>>,
  ): readonly string[]
  /** Adds a constant; the name it is given is a hint. */
  constant(tensor: Tensor): string
  /** A float32 constant of shape []; the same one for equal numbers. */
  scalar(value: number): string
  /** An int64 constant of shape [n]; the same one for equal lists. */
  ints(values: readonly number[]): string
  /** Sum over `axes`. With `keepDims` they stay, of length 1. The value itself where `axes` is empty. */
  reduceSum(value: string, axes: readonly number[], keepDims: boolean): string
  /** {@link reduceSum} for the other reductions. */
  reduce(
    opType: 'ReduceMean' | 'ReduceMax' | 'ReduceMin',
    value: string,
    axes: readonly number[],
    keepDims: boolean,
  ): string
  /** The value laid out as `dims`. */
  reshape(value: string, dims: readonly number[]): string
  /** A name for a value that the caller makes itself, from a hint. */
  freshName(hint: string): string
}

export interface EmittedGraph {
  readonly nodes: readonly Node[]
  readonly constants: readonly Tensor[]
}

/**
 * @param freshName a name that nothing else has nor will get, made from a hint
 */
export function createEmitter(
  opset: number,
  freshName: (hint: string) => string,
): { readonly emitter: Emitter; emitted(): EmittedGraph } {
  const nodes: Node[] = []
  const constants: Tensor[] = []
  const known = new Map<string, string>()

  function addMany(
    opType: string,
    inputs: readonly string[],
    outputCount: number,
    attributes: Readonly<Record<string, Attribute>> = {},
  ): readonly string[] {
    const outputs = Array.from({ length: outputCount }, () => freshName(`grad/${opType}`))
    nodes.push(node({ opType, inputs, outputs, attributes }))
    return outputs
  }

  function add(
    opType: string,
    inputs: readonly string[],
    attributes: Readonly<Record<string, Attribute>> = {},
  ): string {
    return addMany(opType, inputs, 1, attributes)[0] ?? ''
  }

  function constant(tensor: Tensor): string {
    const name = freshName(tensor.name)
    constants.push({ ...tensor, name })
    return name
  }

  function shared(key: string, make: () => Tensor): string {
    const name = known.get(key) ?? constant(make())
    known.set(key, name)
    return name
  }

  const ints = (values: readonly number[]): string =>
    shared(`ints ${values.join(',')}`, () => int64Tensor('grad/ints', [values.length], values))

  function reduce(opType: string, value: string, axes: readonly number[], keepDims: boolean): string {
    if (axes.length === 0) return value
    const keepdims = intValue(keepDims ? 1 : 0)
    return opset >= 18 || opType === 'ReduceSum'
      ? add(opType, [value, ints(axes)], { keepdims })
      : add(opType, [value], { axes: intsValue(axes), keepdims })
  }

  const emitter: Emitter = {
    opset,
    add,
    addMany,
    constant,
    scalar: (value) => shared(`scalar ${value}`, () => floatTensor('grad/scalar', [], Float32Array.of(value))),
    ints,
    reduceSum: (value, axes, keepDims) => reduce('ReduceSum', value, axes, keepDims),
    reduce,
    reshape: (value, dims) => add('Reshape', [value, ints(dims)]),
    freshName,
  }
  return { emitter, emitted: () => ({ nodes, constants }) }
}
