import {
  type Attribute,
  type DataType,
  floatTensor,
  type Model,
  type Node,
  node,
  type Shape,
  type Tensor,
  type ValueInfo,
} from '@edgefit/shared/onnx'

export interface ModelParts {
  readonly inputs: Readonly<Record<string, Shape>>
  readonly outputs: readonly string[]
  readonly nodes: readonly Node[]
  readonly constants?: readonly Tensor[]
  readonly opset?: number
  readonly irVersion?: number
}

export function modelOf({ inputs, outputs, nodes, constants = [], opset = 17, irVersion = 8 }: ModelParts): Model {
  return {
    irVersion,
    opsetImports: new Map([['', opset]]),
    producerName: 'test',
    producerVersion: '',
    metadata: new Map(),
    graph: {
      name: 'graph',
      nodes,
      initializers: new Map(constants.map((tensor) => [tensor.name, tensor])),
      inputs: Object.entries(inputs).map(([name, shape]) => valueInfo(name, shape)),
      outputs: outputs.map((name) => ({ name, type: { kind: 'tensor', dataType: 'FLOAT' } })),
      valueInfo: new Map(),
    },
  }
}

export function valueInfo(name: string, shape: Shape, dataType: DataType = 'FLOAT'): ValueInfo {
  return { name, type: { kind: 'tensor', dataType, shape } }
}

/** `op('Conv', 'x w b -> y', { pads: intsValue([1, 1, 1, 1]) })`; `_` is an input left out. */
export function op(opType: string, signature: string, attributes: Readonly<Record<string, Attribute>> = {}): Node {
  const [inputs, outputs] = signature.split('->').map((side) => side.trim().split(/\s+/))
  if (inputs === undefined || outputs === undefined) throw new RangeError(`"${signature}" has no ->`)
  const names = inputs.map((name) => (name === '_' ? '' : name)).filter((name, at) => name !== '' || at > 0)
  return node({ opType, name: `${opType}:${outputs[0]}`, inputs: names, outputs, attributes })
}

/** Values between -1 and 1, scaled; the same for the same seed. */
export function randomValues(count: number, seed: number, scale = 1): Float32Array {
  let state = seed * 2654435761 + 1
  return Float32Array.from({ length: count }, () => {
    // xorshift32
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return ((state >>> 0) / 2 ** 31 - 1) * scale
  })
}

export function randomTensor(name: string, dims: readonly number[], seed: number, scale = 1): Tensor {
  const count = dims.reduce((product, dim) => product * dim, 1)
  return floatTensor(name, dims, randomValues(count, seed, scale))
}
