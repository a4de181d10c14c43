/** The only file that knows the protobuf library, so that it can be replaced. */
import { clearField, create, type DescMessage, fromBinary, type MessageShape, toBinary } from '@bufbuild/protobuf'
import {
  type AttributeProto,
  AttributeProto_AttributeType,
  AttributeProtoSchema,
  type GraphProto,
  GraphProtoSchema,
  type ModelProto,
  ModelProtoSchema,
  type NodeProto,
  NodeProtoSchema,
  OperatorSetIdProtoSchema,
  StringStringEntryProtoSchema,
  type TensorProto,
  TensorProto_DataLocation,
  TensorProto_DataType,
  TensorProtoSchema,
  TensorShapeProto_DimensionSchema,
  TensorShapeProtoSchema,
  TypeProto_TensorSchema,
  TypeProtoSchema,
  type ValueInfoProto,
  ValueInfoProtoSchema,
} from 'onnx-buf'
import { EdgefitError } from '../errors.ts'

export type { AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto }
export { AttributeProto_AttributeType as AttributeKind, create, TensorProto_DataLocation as DataLocation }
export const schemas = {
  attribute: AttributeProtoSchema,
  dimension: TensorShapeProto_DimensionSchema,
  entry: StringStringEntryProtoSchema,
  graph: GraphProtoSchema,
  model: ModelProtoSchema,
  node: NodeProtoSchema,
  opset: OperatorSetIdProtoSchema,
  shape: TensorShapeProtoSchema,
  tensor: TensorProtoSchema,
  tensorType: TypeProto_TensorSchema,
  type: TypeProtoSchema,
  valueInfo: ValueInfoProtoSchema,
}

/** Parses the wire format. `bytes` fields are views into `bytes`. @throws EdgefitError MODEL_INVALID */
export function parseModelProto(bytes: Uint8Array): ModelProto {
  try {
    // A Buffer would make views of its own kind, whose slice() does not copy.
    return fromBinary(ModelProtoSchema, new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength))
  } catch (cause) {
    throw new EdgefitError('not an ONNX model, or a truncated one; copy or export the file again', {
      code: 'MODEL_INVALID',
      cause,
    })
  }
}

export function serializeModelProto(model: ModelProto): Uint8Array {
  return toBinary(ModelProtoSchema, model)
}

export function dataTypeName(code: number): string | undefined {
  return TensorProto_DataType[code]
}

export function dataTypeCode(name: keyof typeof TensorProto_DataType): number {
  return TensorProto_DataType[name]
}

/**
 * The wire bytes of everything in `message` but `interpreted` (names of fields), unknown fields included; `undefined`
 * when there is nothing else. Clears the interpreted fields of `message`.
 */
export function takeOpaque<Desc extends DescMessage>(
  schema: Desc,
  message: MessageShape<Desc>,
  interpreted: ReadonlySet<string>,
): Uint8Array | undefined {
  for (const field of schema.fields) if (interpreted.has(field.localName)) clearField(message, field)
  const bytes = toBinary(schema, message)
  return bytes.length === 0 ? undefined : bytes
}

/** A message that holds what {@link takeOpaque} kept. */
export function fromOpaque<Desc extends DescMessage>(schema: Desc, opaque: Uint8Array | undefined): MessageShape<Desc> {
  return opaque === undefined ? create(schema) : fromBinary(schema, opaque)
}
