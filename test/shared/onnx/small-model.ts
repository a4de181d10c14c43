import { floatTensor, type Graph, type Model, type Node, node, type Tensor } from '../../../shared/onnx/index.ts'

/** A model from `x` to the given outputs, all float32 [2, 3] unless the nodes say otherwise. */
export function smallModel(
  nodes: readonly Node[],
  outputs: readonly string[],
  initializers: readonly Tensor[] = [],
): Model {
  const type = { kind: 'tensor', dataType: 'FLOAT', shape: ['batch', 3] } as const
  return {
    irVersion: 8,
    opsetImports: new Map([['', 17]]),
    producerName: 'test',
    producerVersion: '1',
    metadata: new Map([['author', 'ünï']]),
    graph: {
      name: 'small',
      nodes,
      initializers: new Map(initializers.map((tensor) => [tensor.name, tensor])),
      inputs: [{ name: 'x', type }],
      outputs: outputs.map((name) => ({ name, type })),
      valueInfo: new Map(),
    },
  }
}

export function relu(input: string, output: string): Node {
  return node({ opType: 'Relu', inputs: [input], outputs: [output] })
}

export function add(left: string, right: string, output: string): Node {
  return node({ opType: 'Add', inputs: [left, right], outputs: [output] })
}

export function weight(name: string, ...values: number[]): Tensor {
  return floatTensor(name, [values.length], Float32Array.from(values))
}

/** A branch that hands out `value` of the graph around it. */
export function branchOf(value: string, output: string): Graph {
  return {
    name: `${output}_branch`,
    nodes: [node({ opType: 'Identity', inputs: [value], outputs: [output] })],
    initializers: new Map(),
    inputs: [],
    outputs: [{ name: output, type: { kind: 'tensor', dataType: 'FLOAT' } }],
    valueInfo: new Map(),
  }
}
