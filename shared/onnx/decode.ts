import { EdgefitError } from '../errors.ts'
import {
  type Attribute,
  type DataType,
  freeInputs,
  type Graph,
  type Model,
  type Node,
  OVERRIDABLE_IR_VERSION,
  type Tensor,
  type TensorType,
  type ValueInfo,
} from './graph.ts'
import {
  AttributeKind,
  type AttributeProto,
  dataTypeName,
  type GraphProto,
  type ModelProto,
  type NodeProto,
  parseModelProto,
  schemas,
  type TensorProto,
  takeOpaque,
  type ValueInfoProto,
} from './protobuf.ts'
import { decodeTensor, isDataType, tensorLocation } from './tensor-data.ts'
import { checkedModel } from './validate.ts'

/** External data files by the location that tensors name. */
export type ExternalData = ReadonlyMap<string, Uint8Array>

export interface DecodeOptions {
  /** What `location` of each external tensor names; `loadModel` reads them from beside the model. */
  readonly externalData?: ExternalData
}

/**
 * Reads a serialized ModelProto. Tensor data is shared with `bytes`, not copied: keep `bytes` unchanged.
 *
 * Initializers, whichever field they came in, become raw little-endian bytes; nodes are put into topological order.
 *
 * @throws EdgefitError MODEL_INVALID when it is not ONNX, truncated or inconsistent; MODEL_UNSUPPORTED for sparse or
 * segmented initializers.
 */
export function decodeModel(bytes: Uint8Array, options: DecodeOptions = {}): Model {
  return decodeModelProto(parseModelProto(bytes), options.externalData ?? new Map())
}

/** Locations of all external data files that `proto` needs. */
export function externalLocations(proto: ModelProto): ReadonlySet<string> {
  const locations = new Set<string>()
  for (const tensor of tensorsOf(proto.graph)) {
    const location = tensorLocation(tensor)
    if (location !== undefined) locations.add(location)
  }
  return locations
}

/** As {@link decodeModel}. Takes `proto` apart. */
export function decodeModelProto(proto: ModelProto, externalData: ExternalData): Model {
  if (proto.graph === undefined || proto.irVersion <= 0n || proto.opsetImport.length === 0) {
    const missing = proto.graph === undefined ? 'graph' : proto.irVersion <= 0n ? 'ir_version' : 'opset_import'
    throw new EdgefitError(
      `not an ONNX model, or a truncated one: it has no ${missing}; copy or export the file again`,
      {
        code: 'MODEL_INVALID',
      },
    )
  }
  const known = {
    irVersion: Number(proto.irVersion),
    opsetImports: new Map(proto.opsetImport.map((entry) => [canonicalDomain(entry.domain), Number(entry.version)])),
    producerName: proto.producerName,
    producerVersion: proto.producerVersion,
    metadata: new Map(proto.metadataProps.map((entry) => [entry.key, entry.value])),
    graph: withoutConstantInputs(decodeGraph(proto.graph, externalData), Number(proto.irVersion)),
  }
  return checkedModel(withOpaque(known, takeOpaque(schemas.model, proto, MODEL_FIELDS)))
}

const MODEL_FIELDS = new Set(['irVersion', 'opsetImport', 'producerName', 'producerVersion', 'metadataProps', 'graph'])
const GRAPH_FIELDS = new Set(['name', 'node', 'initializer', 'input', 'output', 'valueInfo'])
const NODE_FIELDS = new Set(['name', 'opType', 'domain', 'input', 'output', 'attribute'])

function withoutConstantInputs(graph: Graph, irVersion: number): Graph {
  return irVersion < OVERRIDABLE_IR_VERSION ? { ...graph, inputs: freeInputs(graph) } : graph
}

function decodeGraph(proto: GraphProto, externalData: ExternalData): Graph {
  if (proto.sparseInitializer.length > 0) {
    throw new EdgefitError(`graph "${proto.name}" has sparse initializers; export the model with dense weights`, {
      code: 'MODEL_UNSUPPORTED',
    })
  }
  const known = {
    name: proto.name,
    nodes: proto.node.map((entry) => decodeNode(entry, externalData)),
    initializers: decodeInitializers(proto, externalData),
    inputs: proto.input.map(decodeValueInfo),
    outputs: proto.output.map(decodeValueInfo),
    valueInfo: new Map(proto.valueInfo.map((info) => [info.name, decodeValueInfo(info)])),
  }
  return withOpaque(known, takeOpaque(schemas.graph, proto, GRAPH_FIELDS))
}

function decodeInitializers(proto: GraphProto, externalData: ExternalData): ReadonlyMap<string, Tensor> {
  const initializers = new Map<string, Tensor>()
  for (const entry of proto.initializer) {
    const tensor = decodeTensor(entry, externalData)
    if (tensor.name === '' || initializers.has(tensor.name)) {
      throw new EdgefitError(`graph "${proto.name}": two initializers are named "${tensor.name}", or it is no name`, {
        code: 'MODEL_INVALID',
        details: { value: tensor.name },
      })
    }
    initializers.set(tensor.name, tensor)
  }
  return initializers
}

function decodeNode(proto: NodeProto, externalData: ExternalData): Node {
  const known = {
    name: proto.name,
    opType: proto.opType,
    domain: canonicalDomain(proto.domain),
    inputs: proto.input,
    outputs: proto.output,
    attributes: new Map(proto.attribute.map((entry) => [entry.name, decodeAttribute(entry, externalData)])),
  }
  return withOpaque(known, takeOpaque(schemas.node, proto, NODE_FIELDS))
}

/** Which field of AttributeProto each kind of value lives in. */
const VALUE_FIELD: Readonly<Record<Attribute['kind'], string>> = {
  FLOAT: 'f',
  INT: 'i',
  STRING: 's',
  TENSOR: 't',
  GRAPH: 'g',
  FLOATS: 'floats',
  INTS: 'ints',
  STRINGS: 'strings',
  TENSORS: 'tensors',
  GRAPHS: 'graphs',
  OPAQUE: '',
}

function decodeAttribute(proto: AttributeProto, externalData: ExternalData): Attribute {
  const known = attributeValue(proto, externalData)
  const fields = new Set(known.kind === 'OPAQUE' ? ['name'] : ['name', 'type', VALUE_FIELD[known.kind]])
  return withOpaque(known, takeOpaque(schemas.attribute, proto, fields))
}

function attributeValue(proto: AttributeProto, externalData: ExternalData): Attribute {
  switch (proto.type) {
    case AttributeKind.FLOAT:
      return { kind: 'FLOAT', value: proto.f }
    case AttributeKind.INT:
      return { kind: 'INT', value: proto.i }
    case AttributeKind.STRING: {
      const value = utf8(proto.s)
      return value === undefined ? { kind: 'OPAQUE' } : { kind: 'STRING', value }
    }
    case AttributeKind.TENSOR:
      return proto.t === undefined ? { kind: 'OPAQUE' } : { kind: 'TENSOR', value: decodeTensor(proto.t, externalData) }
    case AttributeKind.GRAPH:
      return proto.g === undefined ? { kind: 'OPAQUE' } : { kind: 'GRAPH', value: decodeGraph(proto.g, externalData) }
    case AttributeKind.FLOATS:
      return { kind: 'FLOATS', value: proto.floats }
    case AttributeKind.INTS:
      return { kind: 'INTS', value: proto.ints }
    case AttributeKind.STRINGS: {
      const value = proto.strings.map(utf8)
      return value.every((text) => text !== undefined) ? { kind: 'STRINGS', value } : { kind: 'OPAQUE' }
    }
    case AttributeKind.TENSORS:
      return { kind: 'TENSORS', value: proto.tensors.map((entry) => decodeTensor(entry, externalData)) }
    case AttributeKind.GRAPHS:
      return { kind: 'GRAPHS', value: proto.graphs.map((entry) => decodeGraph(entry, externalData)) }
    case AttributeKind.SPARSE_TENSOR:
    case AttributeKind.SPARSE_TENSORS:
    case AttributeKind.TYPE_PROTO:
    case AttributeKind.TYPE_PROTOS:
    case AttributeKind.UNDEFINED:
      return { kind: 'OPAQUE' }
  }
}

function decodeValueInfo(proto: ValueInfoProto): ValueInfo {
  const { name, type } = proto
  if (type === undefined) return withOpaque({ name }, takeOpaque(schemas.valueInfo, proto, new Set(['name'])))
  if (type.value.case !== 'tensorType') {
    const known = { name, type: { kind: 'opaque' } } as const
    return withOpaque(known, takeOpaque(schemas.valueInfo, proto, new Set(['name'])))
  }
  const { elemType, shape } = type.value.value
  const dataType = dataTypeName(elemType)
  if (!isDataType(dataType)) {
    throw new EdgefitError(`value "${name}" has element type ${elemType}, which is unknown; export the model again`, {
      code: 'MODEL_INVALID',
      details: { value: name },
    })
  }
  const known = { name, type: tensorType(dataType, shape?.dim) }
  // Denotations live between the dimensions, so a type that has any is kept whole beside its reading.
  const plain =
    type.denotation === '' &&
    type.$unknown === undefined &&
    (shape?.dim ?? []).every((dim) => dim.denotation === '' && dim.$unknown === undefined)
  return withOpaque(known, takeOpaque(schemas.valueInfo, proto, new Set(plain ? ['name', 'type'] : ['name'])))
}

type DimensionProto = NonNullable<
  Extract<NonNullable<ValueInfoProto['type']>['value'], { case: 'tensorType' }>['value']['shape']
>['dim'][number]

function tensorType(dataType: DataType, dims: readonly DimensionProto[] | undefined): TensorType {
  if (dims === undefined) return { kind: 'tensor', dataType }
  // Some exporters write -1 or an empty name for a length they do not know.
  const shape = dims.map(({ value }) => {
    if (value.case === 'dimValue') return value.value < 0n ? undefined : Number(value.value)
    return value.case === 'dimParam' && value.value !== '' ? value.value : undefined
  })
  return { kind: 'tensor', dataType, shape }
}

function* tensorsOf(graph: GraphProto | undefined): Generator<TensorProto> {
  if (graph === undefined) return
  yield* graph.initializer
  for (const { attribute } of graph.node) {
    for (const { t, tensors, g, graphs } of attribute) {
      if (t !== undefined) yield t
      yield* tensors
      yield* tensorsOf(g)
      for (const inner of graphs) yield* tensorsOf(inner)
    }
  }
}

function canonicalDomain(domain: string): string {
  return domain === 'ai.onnx' ? '' : domain
}

function withOpaque<Known extends object>(
  known: Known,
  opaque: Uint8Array | undefined,
): Known & { opaque?: Uint8Array } {
  return opaque === undefined ? known : { ...known, opaque }
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function utf8(bytes: Uint8Array): string | undefined {
  try {
    return decoder.decode(bytes)
  } catch {
    return undefined
  }
}
