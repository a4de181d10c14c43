import { floatTensor, type GraphEditor, int8Tensor, int32Tensor, type Tensor, uint8Tensor } from '@edgefit/shared/onnx'
import type { AffineParams } from './affine.ts'

/** Quantized values: 8 bit for weights and activations, 32 bit for biases. */
export type QuantizedValues = Int8Array | Uint8Array | Int32Array

export interface ParamNames {
  readonly scale: string
  readonly zeroPoint: string
}

/** Adds the scales as an initializer; its name. `dims`: `[]` for a single one, else `[params.length]`. */
export function addScale(
  editor: GraphEditor,
  hint: string,
  params: readonly AffineParams[],
  dims: readonly number[],
): string {
  const name = editor.freshName(`${hint}/scale`)
  const scales = Float32Array.from(params, ({ scale }) => scale)
  editor.setInitializer(floatTensor(name, dims, scales))
  return name
}

/** Adds scales and zero points; `like` has the type of what they belong to. */
export function addParams(
  editor: GraphEditor,
  hint: string,
  params: readonly AffineParams[],
  dims: readonly number[],
  like: Int8Array | Uint8Array,
): ParamNames {
  const scale = addScale(editor, hint, params, dims)
  const zeroPoint = editor.freshName(`${hint}/zero_point`)
  const zeroPoints = params.map((one) => one.zeroPoint)
  const values = like instanceof Int8Array ? Int8Array.from(zeroPoints) : Uint8Array.from(zeroPoints)
  editor.setInitializer(integerTensor(zeroPoint, dims, values))
  return { scale, zeroPoint }
}

/** Adds quantized values as an initializer; its name. */
export function addValues(editor: GraphEditor, hint: string, dims: readonly number[], values: QuantizedValues): string {
  const name = editor.freshName(`${hint}/quantized`)
  editor.setInitializer(integerTensor(name, dims, values))
  return name
}

/** Zeroed values of the type. */
export function valuesOf(type: 'int8' | 'uint8', length: number): Int8Array | Uint8Array {
  return type === 'int8' ? new Int8Array(length) : new Uint8Array(length)
}

function integerTensor(name: string, dims: readonly number[], values: QuantizedValues): Tensor {
  if (values instanceof Int8Array) return int8Tensor(name, dims, values)
  return values instanceof Uint8Array ? uint8Tensor(name, dims, values) : int32Tensor(name, dims, values)
}
