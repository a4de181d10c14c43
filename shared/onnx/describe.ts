import { EdgefitError } from '../errors.ts'
import type { TensorSpec } from '../model/index.ts'
import { type DataType, freeInputs, type Graph, type Model, type Node, type ValueInfo } from './graph.ts'
import { inferShapes } from './shape-inference.ts'
import { subgraphs } from './subgraphs.ts'

export interface ModelIo {
  readonly inputs: readonly TensorSpec[]
  readonly outputs: readonly TensorSpec[]
}

/**
 * What to feed and what comes out; initializers that are declared as inputs are left out.
 *
 * @throws EdgefitError MODEL_UNSUPPORTED for inputs or outputs that are no tensors, of a type that cannot be fed, or of
 * a rank that nothing tells.
 */
export function describeIo(model: Model): ModelIo {
  const { graph } = inferShapes(model)
  return { inputs: freeInputs(graph).map(tensorSpec), outputs: graph.outputs.map(tensorSpec) }
}

/** Nodes by operator, those of subgraphs included; operators outside ai.onnx as `domain.opType`. */
export function operatorHistogram(model: Model): ReadonlyMap<string, number> {
  const counts = new Map<string, number>()
  for (const node of allNodes(model.graph)) {
    const name = node.domain === '' ? node.opType : `${node.domain}.${node.opType}`
    counts.set(name, (counts.get(name) ?? 0) + 1)
  }
  return counts
}

/** Opsets whose meaning the passes and shape inference know. */
const MIN_OPSET = 7
const MAX_OPSET = 21

/**
 * Whether Edgefit can work on `model`: an opset it knows, domains that are imported, inputs and outputs that are tensors.
 * Whether the runtime has every kernel, only loading it on the device tells.
 *
 * @throws EdgefitError MODEL_INVALID or MODEL_UNSUPPORTED with the remedy.
 */
export function checkModel(model: Model): void {
  const opset = model.opsetImports.get('')
  if (opset === undefined) {
    throw new EdgefitError('the model imports no opset of ai.onnx; export it again with opset 13 to 21', {
      code: 'MODEL_INVALID',
    })
  }
  if (opset < MIN_OPSET || opset > MAX_OPSET) {
    const remedy =
      opset > MAX_OPSET ? `export it with opset ${MAX_OPSET} or lower` : 'export it with opset 13 or higher'
    throw unsupported(`the model uses opset ${opset}, supported are ${MIN_OPSET} to ${MAX_OPSET}; ${remedy}`, { opset })
  }
  for (const node of allNodes(model.graph)) {
    if (!model.opsetImports.has(node.domain)) {
      throw new EdgefitError(
        `node "${node.name}" (${node.opType}) is of domain "${node.domain}", which the model does not import; export it again`,
        { code: 'MODEL_INVALID', details: { node: node.name, domain: node.domain } },
      )
    }
  }
  describeIo(model)
}

const RUNTIME_TYPES: Partial<Readonly<Record<DataType, TensorSpec['type']>>> = {
  FLOAT: 'float32',
  DOUBLE: 'float64',
  FLOAT16: 'float16',
  INT8: 'int8',
  UINT8: 'uint8',
  INT16: 'int16',
  UINT16: 'uint16',
  INT32: 'int32',
  UINT32: 'uint32',
  INT64: 'int64',
  UINT64: 'uint64',
  BOOL: 'bool',
}

function tensorSpec({ name, type }: ValueInfo): TensorSpec {
  if (type?.kind !== 'tensor') {
    throw unsupported(`"${name}" is not a tensor; only models with tensor inputs and outputs can be measured`, {
      value: name,
    })
  }
  const runtimeType = RUNTIME_TYPES[type.dataType]
  if (runtimeType === undefined) {
    throw unsupported(`"${name}" is of type ${type.dataType}, which cannot be fed; cast it inside the model`, {
      value: name,
    })
  }
  if (type.shape === undefined) {
    throw unsupported(`"${name}" does not state its rank; export the model with shapes for inputs and outputs`, {
      value: name,
    })
  }
  return { name, type: runtimeType, dims: type.shape.map((dim) => dim ?? null) }
}

function* allNodes(graph: Graph): Generator<Node> {
  for (const node of graph.nodes) {
    yield node
    for (const [, inner] of subgraphs(node)) yield* allNodes(inner)
  }
}

function unsupported(message: string, details: Readonly<Record<string, unknown>>): EdgefitError {
  return new EdgefitError(message, { code: 'MODEL_UNSUPPORTED', details })
}
