import { elementCount, intAttribute, type Node, type Tensor } from '@edgefit/shared/onnx'
import { tapsOf, windowGeometry } from '../train/autodiff/rules/window-geometry.ts'

/**
 * A layer as matrix products, one for each group: rows [groups, count, inputs] times weights [groups, inputs, outputs].
 * A row is what one place of the output is computed from.
 */
export interface LayerMatrix {
  readonly groups: number
  readonly inputs: number
  readonly outputs: number
  /** Position in the weight tensor of each weight of [groups, inputs, outputs]. */
  placeOf(group: number, input: number, output: number): number
}

/** `undefined` for weights that are not one matrix a group. */
export function layerMatrix(node: Node, { dims }: Tensor): LayerMatrix | undefined {
  const [first = 1, ...rest] = dims
  if (node.opType === 'Conv') {
    const groups = intAttribute(node, 'group', 1)
    return outputsFirst(groups, first / groups, elementCount(rest))
  }
  const [second = 1] = rest
  if (dims.length !== 2) return undefined
  if (node.opType === 'Gemm' && intAttribute(node, 'transB', 0) !== 0) return outputsFirst(1, first, second)
  return { groups: 1, inputs: first, outputs: second, placeOf: (_, input, output) => input * second + output }
}

function outputsFirst(groups: number, outputs: number, inputs: number): LayerMatrix {
  const placeOf = (group: number, input: number, output: number): number => (group * outputs + output) * inputs + input
  return { groups, inputs, outputs, placeOf }
}

/** The weight tensor's `values` as [groups, inputs, outputs]. */
export function asMatrix(matrix: LayerMatrix, values: Float32Array): Float32Array {
  const ordered = new Float32Array(values.length)
  let at = 0
  forEachWeight(matrix, (place) => {
    ordered[at++] = values[place] ?? 0
  })
  return ordered
}

/** Visits the weights in the order of [groups, inputs, outputs] with their positions in the tensor. */
export function forEachWeight({ groups, inputs, outputs, placeOf }: LayerMatrix, visit: (place: number) => void): void {
  for (let group = 0; group < groups; group++) {
    for (let input = 0; input < inputs; input++) {
      for (let output = 0; output < outputs; output++) visit(placeOf(group, input, output))
    }
  }
}

/** Copies the row of a place: that of the first group to `into[at…]`, those of the others `stride` further each. */
type RowReader = (place: number, into: Float32Array, at: number, stride: number) => void

/** Reads the layer's output at a place as [groups, outputs]. Places count what is not channels, row-major. */
export function outputReader(node: Node, matrix: LayerMatrix, dims: readonly number[], data: Float32Array): RowReader {
  const inner = node.opType === 'Conv' ? elementCount(dims.slice(2)) : 1
  const { groups, outputs } = matrix
  const channels = groups * outputs
  return (place, into, at, stride) => {
    let from = Math.floor(place / inner) * channels * inner + (place % inner)
    for (let group = 0; group < groups; group++) {
      for (let output = 0; output < outputs; output++) {
        into[at + group * stride + output] = data[from] ?? 0
        from += inner
      }
    }
  }
}

/** How many places the output has. */
export function placesOf(matrix: LayerMatrix, dims: readonly number[]): number {
  return elementCount(dims) / (matrix.groups * matrix.outputs)
}

/** Reads what the output at a place is computed from, as [groups, inputs]; padding is 0. */
export function inputReader(
  node: Node,
  { groups, inputs }: LayerMatrix,
  shapes: {
    readonly input: readonly number[]
    readonly output: readonly number[]
    readonly weights: readonly number[]
  },
  data: Float32Array,
): RowReader {
  if (node.opType !== 'Conv') {
    return (place, into, at) => into.set(data.subarray(place * inputs, (place + 1) * inputs), at)
  }
  const [large, small, kernel] = [shapes.input, shapes.output, shapes.weights].map((dims) => dims.slice(2))
  const geometry = windowGeometry(node, { large: large ?? [], small: small ?? [], kernel: kernel ?? [] })
  const taps = tapsOf(geometry.kernel)
  const places = elementCount(geometry.small)
  const channelSize = elementCount(geometry.large)
  const channels = shapes.input[1] ?? 1
  const perGroup = channels / groups
  return (place, into, at, stride) => {
    const corner = cornerOf(place % places, geometry)
    const offsets = Int32Array.from(taps, (tap) => offsetOf(tap, corner, geometry))
    let from = Math.floor(place / places) * channels * channelSize
    for (let group = 0; group < groups; group++) {
      let to = at + group * stride
      for (let channel = 0; channel < perGroup; channel++) {
        for (let tap = 0; tap < offsets.length; tap++) {
          const offset = offsets[tap] ?? -1
          into[to++] = offset < 0 ? 0 : (data[from + offset] ?? 0)
        }
        from += channelSize
      }
    }
  }
}

type Geometry = ReturnType<typeof windowGeometry>

/** Where the window of a place begins, by axis. */
function cornerOf(place: number, { small, strides, padsBegin }: Geometry): readonly number[] {
  const corner: number[] = []
  let left = place
  for (let axis = small.length - 1; axis >= 0; axis--) {
    const length = small[axis] ?? 1
    corner[axis] = (left % length) * (strides[axis] ?? 1) - (padsBegin[axis] ?? 0)
    left = Math.floor(left / length)
  }
  return corner
}

/** Offset within a channel; -1 in the padding. */
function offsetOf(tap: readonly number[], corner: readonly number[], { large, dilations }: Geometry): number {
  let offset = 0
  for (const [axis, length] of large.entries()) {
    const at = (corner[axis] ?? 0) + (tap[axis] ?? 0) * (dilations[axis] ?? 1)
    if (at < 0 || at >= length) return -1
    offset = offset * length + at
  }
  return offset
}
