import {
  type DataType,
  floatTensor,
  type GraphEditor,
  int8Tensor,
  int32Tensor,
  uint8Tensor,
} from '@edgefit/shared/onnx'
import type { AffineParams } from './affine.ts'

export interface ParamNames {
  readonly scale: string
  readonly zeroPoint: string
}

/**
 * Adds scale and zero point as initializers. `dims`: `[]` for one of each, else `[params.length]`.
 *
 * The zero point has the type of the values that it belongs to.
 */
export function addParams(
  editor: GraphEditor,
  hint: string,
  params: readonly AffineParams[],
  type: DataType,
  dims: readonly number[],
): ParamNames {
  const scale = editor.freshName(`${hint}/scale`)
  const zeroPoint = editor.freshName(`${hint}/zero_point`)
  const zeroPoints = params.map((one) => one.zeroPoint)
  editor.setInitializer(
    floatTensor(
      scale,
      dims,
      Float32Array.from(params, (one) => one.scale),
    ),
  )
  editor.setInitializer(
    type === 'INT8'
      ? int8Tensor(zeroPoint, dims, Int8Array.from(zeroPoints))
      : type === 'UINT8'
        ? uint8Tensor(zeroPoint, dims, Uint8Array.from(zeroPoints))
        : int32Tensor(zeroPoint, dims, Int32Array.from(zeroPoints)),
  )
  return { scale, zeroPoint }
}

/** Adds quantized values as an initializer; its name. */
export function addValues(
  editor: GraphEditor,
  hint: string,
  dims: readonly number[],
  values: Int8Array | Uint8Array | Int32Array,
): string {
  const name = editor.freshName(`${hint}/quantized`)
  const tensor =
    values instanceof Int8Array
      ? int8Tensor(name, dims, values)
      : values instanceof Uint8Array
        ? uint8Tensor(name, dims, values)
        : int32Tensor(name, dims, values)
  editor.setInitializer(tensor)
  return name
}

export function typeOfValues(values: Int8Array | Uint8Array | Int32Array): DataType {
  return values instanceof Int8Array ? 'INT8' : values instanceof Uint8Array ? 'UINT8' : 'INT32'
}
