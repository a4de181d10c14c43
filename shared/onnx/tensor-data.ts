import { EdgefitError } from '../errors.ts'
import { DATA_TYPES, type DataType, type Tensor } from './graph.ts'
import { DataLocation, dataTypeName, schemas, type TensorProto, takeOpaque } from './protobuf.ts'
import { dataSizeBytes, elementCount } from './tensor.ts'

const TENSOR_FIELDS = new Set([
  'name',
  'dims',
  'dataType',
  'rawData',
  'floatData',
  'int32Data',
  'int64Data',
  'doubleData',
  'uint64Data',
  'stringData',
  'externalData',
  'dataLocation',
])

export function isDataType(name: string | undefined): name is DataType {
  return DATA_TYPES.some((dataType) => dataType === name)
}

/**
 * A tensor with its elements as raw little-endian bytes, whichever field or file they came in.
 *
 * @throws EdgefitError MODEL_INVALID when the elements are missing or do not fill the dims.
 */
export function decodeTensor(proto: TensorProto, externalData: ReadonlyMap<string, Uint8Array>): Tensor {
  const { name } = proto
  const dataType = dataTypeName(proto.dataType)
  const dims = proto.dims.map(Number)
  if (!isDataType(dataType)) throw invalid(name, `has data type ${proto.dataType}, which is unknown`)
  if (dims.some((dim) => dim < 0)) throw invalid(name, `has dims [${dims.join(', ')}]`)
  if (proto.segment !== undefined) {
    throw new EdgefitError(`tensor "${name}" is stored in segments; export the model without them`, {
      code: 'MODEL_UNSUPPORTED',
      details: { tensor: name },
    })
  }
  const data = elementBytes(proto, dataType, dims, externalData)
  const strings = dataType === 'STRING' ? proto.stringData : undefined
  const actual = strings === undefined ? data.byteLength : strings.length
  const expected = strings === undefined ? dataSizeBytes(dataType, dims) : elementCount(dims)
  if (actual !== expected) {
    const unit = strings === undefined ? 'bytes' : 'strings'
    throw invalid(name, `of ${dataType} [${dims.join(', ')}] has ${actual} ${unit} instead of ${expected}`)
  }
  const known = { name, dataType, dims, data, ...(strings === undefined ? {} : { strings }) }
  const opaque = takeOpaque(schemas.tensor, proto, TENSOR_FIELDS)
  return opaque === undefined ? known : { ...known, opaque }
}

/**
 * The external file `proto` keeps its elements in, if any.
 *
 * @throws EdgefitError MODEL_INVALID for a location outside the model's own folder.
 */
export function tensorLocation(proto: TensorProto): string | undefined {
  if (proto.dataLocation !== DataLocation.EXTERNAL) return undefined
  const location = proto.externalData.find((entry) => entry.key === 'location')?.value ?? ''
  const escapes = /^[/\\]|^[A-Za-z]:|\\|\0/.test(location) || location.split('/').includes('..')
  if (location === '' || escapes) {
    throw invalid(proto.name, `keeps its data in "${location}", which is not a path inside the model's folder`)
  }
  return location
}

function elementBytes(
  proto: TensorProto,
  dataType: DataType,
  dims: readonly number[],
  externalData: ReadonlyMap<string, Uint8Array>,
): Uint8Array {
  const location = tensorLocation(proto)
  if (location !== undefined) return externalBytes(proto, location, dataSizeBytes(dataType, dims), externalData)
  if (proto.rawData.byteLength > 0) return proto.rawData
  switch (dataType) {
    case 'FLOAT':
    case 'COMPLEX64':
      return bytesOf(Float32Array.from(proto.floatData))
    case 'DOUBLE':
    case 'COMPLEX128':
      return bytesOf(Float64Array.from(proto.doubleData))
    case 'INT64':
      return bytesOf(BigInt64Array.from(proto.int64Data))
    case 'UINT64':
      return bytesOf(BigUint64Array.from(proto.uint64Data))
    case 'UINT32':
      return bytesOf(Uint32Array.from(proto.uint64Data, Number))
    case 'INT32':
      return bytesOf(Int32Array.from(proto.int32Data))
    case 'STRING':
      return new Uint8Array()
    case 'FLOAT16':
    case 'BFLOAT16':
    case 'INT16':
    case 'UINT16':
      // onnx.proto, TensorProto.int32_data: small types come bit for bit as integers, sub-byte ones packed to bytes.
      return bytesOf(Uint16Array.from(proto.int32Data))
    case 'BOOL':
    case 'INT8':
    case 'UINT8':
    case 'FLOAT8E4M3FN':
    case 'FLOAT8E4M3FNUZ':
    case 'FLOAT8E5M2':
    case 'FLOAT8E5M2FNUZ':
    case 'FLOAT8E8M0':
    case 'FLOAT4E2M1':
    case 'INT4':
    case 'UINT4':
    case 'INT2':
    case 'UINT2':
      return bytesOf(Uint8Array.from(proto.int32Data))
  }
}

function externalBytes(
  proto: TensorProto,
  location: string,
  sizeBytes: number,
  externalData: ReadonlyMap<string, Uint8Array>,
): Uint8Array {
  const file = externalData.get(location)
  if (file === undefined) {
    throw invalid(proto.name, `needs the external data file "${location}"; put it beside the model`)
  }
  const offset = entryNumber(proto, 'offset', 0)
  const length = entryNumber(proto, 'length', sizeBytes)
  if (offset + length > file.byteLength) {
    const end = offset + length
    throw invalid(proto.name, `wants bytes ${offset} to ${end} of "${location}", which has ${file.byteLength}`)
  }
  return new Uint8Array(file.buffer, file.byteOffset + offset, length)
}

function entryNumber(proto: TensorProto, key: string, otherwise: number): number {
  const text = proto.externalData.find((entry) => entry.key === key)?.value
  if (text === undefined) return otherwise
  if (!/^\d{1,15}$/.test(text)) throw invalid(proto.name, `has external data ${key} "${text}", which is not a count`)
  return Number(text)
}

function bytesOf(values: ArrayBufferView): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
}

function invalid(name: string, fault: string): EdgefitError {
  return new EdgefitError(`tensor "${name}" ${fault}`, { code: 'MODEL_INVALID', details: { tensor: name } })
}
