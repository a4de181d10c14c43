import { EdgefitError } from '../errors.ts'
import {
  type Attribute,
  type Dim,
  type Graph,
  type Model,
  type Node,
  OVERRIDABLE_IR_VERSION,
  type Tensor,
  type ValueInfo,
} from './graph.ts'
import {
  AttributeKind,
  type AttributeProto,
  create,
  DataLocation,
  dataTypeCode,
  fromOpaque,
  type GraphProto,
  type NodeProto,
  schemas,
  serializeModelProto,
  type TensorProto,
  type ValueInfoProto,
} from './protobuf.ts'

/** Where an external tensor's bytes are. */
export interface ExternalSpan {
  readonly location: string
  readonly offset: number
}

/** Protobuf readers, the runtime's among them, refuse more. */
export const SINGLE_FILE_BYTES = 2 ** 31 - 1
/** For names, nodes and tags, which are small beside weights that come near the limit. */
const ROOM_BYTES = 16 * 2 ** 20

/**
 * Serializes to a ModelProto. The same model always gives the same bytes.
 *
 * @throws EdgefitError MODEL_UNSUPPORTED above 2 GiB: use `saveModel`, which then keeps the weights in a file beside it.
 */
export function encodeModel(model: Model): Uint8Array {
  return encodeWithExternal(model, new Map())
}

/** As {@link encodeModel}; initializers of the main graph that are in `external` are written as references. */
export function encodeWithExternal(
  model: Model,
  external: ReadonlyMap<Tensor, ExternalSpan>,
  limitBytes = SINGLE_FILE_BYTES,
): Uint8Array {
  const sizeBytes = inlineBytes(model.graph, external)
  if (sizeBytes + ROOM_BYTES > limitBytes) {
    throw new EdgefitError(
      `the model holds ${sizeBytes} bytes of weights, a single ONNX file at most ${limitBytes}; keep them beside it, as external data, and outside of branches and Constant nodes`,
      { code: 'MODEL_UNSUPPORTED', details: { sizeBytes, limitBytes } },
    )
  }
  const proto = fromOpaque(schemas.model, model.opaque)
  proto.irVersion = BigInt(model.irVersion)
  proto.opsetImport = [...model.opsetImports].map(([domain, version]) =>
    create(schemas.opset, { ...(domain !== '' && { domain }), version: BigInt(version) }),
  )
  if (model.producerName !== '') proto.producerName = model.producerName
  if (model.producerVersion !== '') proto.producerVersion = model.producerVersion
  proto.metadataProps = entries(model.metadata)
  proto.graph = encodeGraph(withConstantInputs(model.graph, model.irVersion), external)
  return serializeModelProto(proto)
}

/** Whether {@link encodeModel} would refuse `model` for its size. */
export function exceedsSingleFile(model: Model, limitBytes: number): boolean {
  return inlineBytes(model.graph, new Map()) + ROOM_BYTES > limitBytes
}

/** Of all constants that stay in the file: those of Constant nodes and subgraphs too. */
function inlineBytes(graph: Graph, external: ReadonlyMap<Tensor, ExternalSpan>): number {
  let sizeBytes = 0
  for (const tensor of graph.initializers.values()) if (!external.has(tensor)) sizeBytes += tensor.data.byteLength
  for (const { attributes } of graph.nodes) {
    for (const attribute of attributes.values()) sizeBytes += attributeBytes(attribute)
  }
  return sizeBytes
}

function attributeBytes(attribute: Attribute): number {
  const { kind } = attribute
  if (kind === 'TENSOR') return attribute.value.data.byteLength
  if (kind === 'GRAPH') return inlineBytes(attribute.value, new Map())
  if (kind === 'TENSORS') return attribute.value.reduce((sum, { data }) => sum + data.byteLength, 0)
  if (kind === 'GRAPHS') return attribute.value.reduce((sum, graph) => sum + inlineBytes(graph, new Map()), 0)
  return 0
}

function withConstantInputs(graph: Graph, irVersion: number): Graph {
  if (irVersion >= OVERRIDABLE_IR_VERSION) return graph
  const declared = new Set(graph.inputs.map((input) => input.name))
  const constants = [...graph.initializers.values()].filter((tensor) => !declared.has(tensor.name))
  const inputs = constants.map(({ name, dataType, dims }): ValueInfo => {
    return { name, type: { kind: 'tensor', dataType, shape: dims } }
  })
  return { ...graph, inputs: [...graph.inputs, ...inputs] }
}

function encodeGraph(graph: Graph, external: ReadonlyMap<Tensor, ExternalSpan>): GraphProto {
  const proto = fromOpaque(schemas.graph, graph.opaque)
  if (graph.name !== '') proto.name = graph.name
  proto.node = graph.nodes.map(encodeNode)
  proto.initializer = [...graph.initializers.values()].map((tensor) => encodeTensor(tensor, external.get(tensor)))
  proto.input = graph.inputs.map(encodeValueInfo)
  proto.output = graph.outputs.map(encodeValueInfo)
  proto.valueInfo = [...graph.valueInfo.values()].map(encodeValueInfo)
  return proto
}

function encodeNode(node: Node): NodeProto {
  const proto = fromOpaque(schemas.node, node.opaque)
  if (node.name !== '') proto.name = node.name
  proto.opType = node.opType
  if (node.domain !== '') proto.domain = node.domain
  proto.input = [...node.inputs]
  proto.output = [...node.outputs]
  proto.attribute = [...node.attributes].map(([name, attribute]) => encodeAttribute(name, attribute))
  return proto
}

function encodeAttribute(name: string, attribute: Attribute): AttributeProto {
  const proto = fromOpaque(schemas.attribute, attribute.opaque)
  proto.name = name
  if (attribute.kind !== 'OPAQUE') proto.type = AttributeKind[attribute.kind]
  switch (attribute.kind) {
    case 'FLOAT':
      proto.f = attribute.value
      break
    case 'INT':
      proto.i = attribute.value
      break
    case 'STRING':
      proto.s = encoder.encode(attribute.value)
      break
    case 'TENSOR':
      proto.t = encodeTensor(attribute.value, undefined)
      break
    case 'GRAPH':
      proto.g = encodeGraph(attribute.value, new Map())
      break
    case 'FLOATS':
      proto.floats = [...attribute.value]
      break
    case 'INTS':
      proto.ints = [...attribute.value]
      break
    case 'STRINGS':
      proto.strings = attribute.value.map((text) => encoder.encode(text))
      break
    case 'TENSORS':
      proto.tensors = attribute.value.map((tensor) => encodeTensor(tensor, undefined))
      break
    case 'GRAPHS':
      proto.graphs = attribute.value.map((graph) => encodeGraph(graph, new Map()))
      break
    case 'OPAQUE':
      break
  }
  return proto
}

function encodeTensor(tensor: Tensor, external: ExternalSpan | undefined): TensorProto {
  const proto = fromOpaque(schemas.tensor, tensor.opaque)
  if (tensor.name !== '') proto.name = tensor.name
  proto.dims = tensor.dims.map(BigInt)
  proto.dataType = dataTypeCode(tensor.dataType)
  if (tensor.strings !== undefined) proto.stringData = tensor.strings.map((bytes) => Uint8Array.from(bytes))
  else if (external === undefined) proto.rawData = overArrayBuffer(tensor.data)
  else {
    proto.dataLocation = DataLocation.EXTERNAL
    proto.externalData = entries([
      ['location', external.location],
      ['offset', String(external.offset)],
      ['length', String(tensor.data.byteLength)],
    ])
  }
  return proto
}

function encodeValueInfo(info: ValueInfo): ValueInfoProto {
  const proto = fromOpaque(schemas.valueInfo, info.opaque)
  proto.name = info.name
  if (info.type?.kind !== 'tensor') return proto
  const type = proto.type ?? create(schemas.type)
  const kept = type.value.case === 'tensorType' ? type.value.value : create(schemas.tensorType)
  kept.elemType = dataTypeCode(info.type.dataType)
  const { shape } = info.type
  if (shape === undefined) delete kept.shape
  else {
    const keptDims = kept.shape?.dim.length === shape.length ? kept.shape.dim : []
    kept.shape = create(schemas.shape, {
      dim: shape.map((dim, axis) =>
        Object.assign(keptDims[axis] ?? create(schemas.dimension), { value: dimValue(dim) }),
      ),
    })
  }
  type.value = { case: 'tensorType', value: kept }
  proto.type = type
  return proto
}

function dimValue(dim: Dim) {
  if (dim === undefined) return { case: undefined } as const
  return typeof dim === 'number'
    ? ({ case: 'dimValue', value: BigInt(dim) } as const)
    : ({ case: 'dimParam', value: dim } as const)
}

function entries(pairs: Iterable<readonly [string, string]>) {
  return [...pairs].map(([key, value]) => create(schemas.entry, { key, value }))
}

const encoder = new TextEncoder()

/** The protobuf types insist on ArrayBuffer; tensors over a SharedArrayBuffer are copied. */
function overArrayBuffer(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return bytes.buffer instanceof ArrayBuffer
    ? new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    : Uint8Array.from(bytes)
}
