import { isEdgefitError } from '../../../../shared/errors.ts'
import { DATA_TYPES, type DataType, decodeModel, type Tensor } from '../../../../shared/onnx/index.ts'
import { create, dataTypeCode, schemas, serializeModelProto } from '../../../../shared/onnx/protobuf.ts'

type TensorInit = Parameters<typeof create<typeof schemas.tensor>>[1]

/** The bytes of a model whose one initializer is `tensor`, named `t` to be valid. */
export function modelBytes(tensor: TensorInit): Uint8Array {
  return serializeModelProto(
    create(schemas.model, {
      irVersion: 8n,
      opsetImport: [{ version: 17n }],
      graph: {
        initializer: [create(schemas.tensor, tensor)],
        node: [{ opType: 'Identity', input: ['t'], output: ['y'] }],
        output: [{ name: 'y' }],
      },
    }),
  )
}

/** The tensor as it is after decoding. */
export function decodedTensor(tensor: TensorInit): Tensor {
  const decoded = decodeModel(modelBytes({ ...tensor, name: 't' })).graph.initializers.get('t')
  if (decoded === undefined) throw new Error('no tensor')
  return decoded
}

/** Why `decodeModel` takes the bytes for no valid model. */
export function failure(bytes: Uint8Array, externalData?: ReadonlyMap<string, Uint8Array>): string {
  try {
    decodeModel(bytes, externalData === undefined ? {} : { externalData })
  } catch (error) {
    if (isEdgefitError(error, 'MODEL_INVALID')) return error.message
    throw error
  }
  throw new Error('decoded')
}

/** The numbers of data types in a file. */
export const T = Object.fromEntries(DATA_TYPES.map((name) => [name, dataTypeCode(name)])) as Record<DataType, number>
