import { asInt64Numbers, bitsPerElement, elementCount, type Tensor } from '@edgefit/shared/onnx'

/** Constants moved about, element by element, whatever their type. `undefined` where the arguments do not fit them. */

export function transposed(tensor: Tensor, perm: readonly number[]): Tensor | undefined {
  const dims = perm.map((axis) => tensor.dims[axis] ?? 0)
  if (perm.length !== tensor.dims.length || new Set(perm).size !== perm.length) return undefined
  const strides = stridesOf(tensor.dims)
  return picked(
    tensor,
    dims,
    perm.map((axis, at) => range(dims[at] ?? 0).map((position) => position * (strides[axis] ?? 0))),
  )
}

/** Numpy's broadcasting of `tensor` to `dims`, which its own must fit. */
export function expanded(tensor: Tensor, dims: readonly number[]): Tensor | undefined {
  const strides = stridesOf(tensor.dims)
  const shift = dims.length - tensor.dims.length
  const fits = tensor.dims.every((dim, axis) => dim === 1 || dim === dims[axis + shift])
  if (shift < 0 || !fits) return undefined
  const offsets = dims.map((dim, axis) => {
    const isRepeated = axis < shift || tensor.dims[axis - shift] === 1
    return range(dim).map((position) => (isRepeated ? 0 : position * (strides[axis - shift] ?? 0)))
  })
  return picked(tensor, dims, offsets)
}

/** The elements at `positions` of one axis. */
export function taken(tensor: Tensor, axis: number, positions: readonly number[]): Tensor | undefined {
  const length = tensor.dims[axis]
  if (length === undefined || positions.some((at) => !(at >= 0 && at < length))) return undefined
  const strides = stridesOf(tensor.dims)
  const offsets = tensor.dims.map((dim, own) =>
    (own === axis ? positions : range(dim)).map((position) => position * (strides[own] ?? 0)),
  )
  return picked(tensor, tensor.dims.with(axis, positions.length), offsets)
}

export function concatenated(tensors: readonly Tensor[], axis: number): Tensor | undefined {
  const [first] = tensors
  const at = first && (axis < 0 ? axis + first.dims.length : axis)
  if (first === undefined || at === undefined || first.dims[at] === undefined) return undefined
  const fits = tensors.every(
    ({ dataType, dims }) =>
      dataType === first.dataType &&
      dims.length === first.dims.length &&
      dims.every((dim, own) => own === at || dim === first.dims[own]),
  )
  const bytes = elementBytes(first)
  if (!fits || bytes === undefined) return undefined
  const length = tensors.reduce((sum, { dims }) => sum + (dims[at] ?? 0), 0)
  const dims = first.dims.with(at, length)
  const data = new Uint8Array(elementCount(dims) * bytes)
  const inner = elementCount(dims.slice(at + 1)) * bytes
  const outer = elementCount(dims.slice(0, at))
  let to = 0
  for (let row = 0; row < outer; row++) {
    for (const part of tensors) {
      const rowBytes = (part.dims[at] ?? 0) * inner
      data.set(part.data.subarray(row * rowBytes, (row + 1) * rowBytes), to)
      to += rowBytes
    }
  }
  return { name: '', dataType: first.dataType, dims, data }
}

/** Indices as ONNX writes them, negative ones from the end on, as positions. */
export function positionsOf(indices: Tensor, length: number): readonly number[] | undefined {
  if (indices.dataType !== 'INT64') return undefined
  return asInt64Numbers(indices).map((index) => (index < 0 ? index + length : index))
}

/** The element at each combination of one offset per axis, row-major. */
function picked(tensor: Tensor, dims: readonly number[], offsets: readonly (readonly number[])[]): Tensor | undefined {
  const bytes = elementBytes(tensor)
  if (bytes === undefined) return undefined
  const data = new Uint8Array(elementCount(dims) * bytes)
  let to = 0
  const visit = (axis: number, from: number): void => {
    const own = offsets[axis]
    if (own === undefined) {
      for (let byte = 0; byte < bytes; byte++) data[to++] = tensor.data[from * bytes + byte] ?? 0
    } else for (const offset of own) visit(axis + 1, from + offset)
  }
  visit(0, 0)
  return { name: '', dataType: tensor.dataType, dims, data }
}

function elementBytes({ dataType }: Tensor): number | undefined {
  const bytes = bitsPerElement(dataType) / 8
  return Number.isInteger(bytes) && bytes > 0 ? bytes : undefined
}

function stridesOf(dims: readonly number[]): readonly number[] {
  return dims.map((_, axis) => elementCount(dims.slice(axis + 1)))
}

function range(length: number): readonly number[] {
  return Array.from({ length }, (_, position) => position)
}
