import {
  asFloat32,
  type DataType,
  type Graph,
  type GraphIndex,
  indexGraph,
  type Node,
  type Tensor,
} from '@edgefit/shared/onnx'
import type { Interval } from '../affine.ts'

/** Where the values of an operator go. */
export type Destination =
  /** One QuantizeLinear, through `clips`: the Relu and Clip nodes on the way. */
  | { readonly kind: 'quantized'; readonly by: Node; readonly clips: readonly Node[] }
  /** A QuantizeLinear and others, or several, or the outside: `value` is what is read too often. */
  | { readonly kind: 'shared'; readonly value: string; readonly readers: number; readonly isOutput: boolean }
  | { readonly kind: 'float' }

/** Scale and zero point of a QuantizeLinear or DequantizeLinear. Per channel: of the first one. */
export interface Affine {
  readonly scales: Float32Array
  readonly zeroPoint: number
  readonly dataType: DataType
}

/** A graph with QuantizeLinear and DequantizeLinear, as the rules of fusion look at it. */
export interface QuantizedGraph {
  readonly index: GraphIndex
  /** The DequantizeLinear that makes `value`. */
  dequantizer(value: string): Node | undefined
  /** The constant that `value` is dequantized from; a QuantizeLinear of a constant counts, the runtime computes it. */
  quantizedConstant(value: string): Tensor | undefined
  destination(value: string): Destination
  affine(node: Node): Affine | undefined
}

export function quantizedGraph(graph: Graph): QuantizedGraph {
  const index = indexGraph(graph)

  const dequantizer = (value: string): Node | undefined => {
    const producer = index.producer(value)
    return producer?.opType === 'DequantizeLinear' ? producer : undefined
  }

  function destination(value: string, clips: readonly Node[] = []): Destination {
    const readers = index.consumers(value)
    const quantizers = readers.filter(({ node, input }) => node.opType === 'QuantizeLinear' && input === 0)
    const isOutput = index.isGraphOutput(value)
    const [only] = readers
    if (readers.length === 1 && only !== undefined && !isOutput) {
      if (quantizers.length === 1) return { kind: 'quantized', by: only.node, clips }
      const [through = ''] = only.node.outputs
      if (CLIPS.has(only.node.opType)) return destination(through, [...clips, only.node])
    }
    return quantizers.length > 0 ? { kind: 'shared', value, readers: readers.length, isOutput } : { kind: 'float' }
  }

  function quantizedConstant(value: string): Tensor | undefined {
    const [source = ''] = dequantizer(value)?.inputs ?? []
    const producer = index.producer(source)
    return producer?.opType === 'QuantizeLinear' ? index.constant(producer.inputs[0] ?? '') : index.constant(source)
  }

  function affine(node: Node): Affine | undefined {
    const [source = '', scaleName = '', zeroPointName = ''] = node.inputs
    const scale = index.constant(scaleName)
    if (scale?.dataType !== 'FLOAT') return undefined
    const scales = asFloat32(scale)
    const zeroPoint = index.constant(zeroPointName)
    if (zeroPoint !== undefined) return { scales, zeroPoint: firstOf(zeroPoint), dataType: zeroPoint.dataType }
    const dataType = node.opType === 'QuantizeLinear' ? 'UINT8' : (index.constant(source)?.dataType ?? 'UINT8')
    return { scales, zeroPoint: 0, dataType }
  }

  return { index, dequantizer, quantizedConstant, destination: (value) => destination(value), affine }
}

const CLIPS: ReadonlySet<string> = new Set(['Relu', 'Clip'])

const RANGES: ReadonlyMap<DataType, Interval> = new Map([
  ['UINT8', { min: 0, max: 255 }],
  ['INT8', { min: -128, max: 127 }],
])

/** The real values that the integers stand for; `undefined` unless there is one scale and 8 bits. */
export function realRange({ scales, zeroPoint, dataType }: Affine): Interval | undefined {
  const range = RANGES.get(dataType)
  const [scale] = scales
  if (range === undefined || scale === undefined || scales.length !== 1) return undefined
  // In float32, as the runtime does.
  return { min: Math.fround((range.min - zeroPoint) * scale), max: Math.fround((range.max - zeroPoint) * scale) }
}

export function sameAffine(left: Affine, right: Affine): boolean {
  return (
    left.zeroPoint === right.zeroPoint &&
    left.dataType === right.dataType &&
    left.scales.length === right.scales.length &&
    left.scales.every((scale, at) => scale === right.scales[at])
  )
}

/** Of an integer tensor; of other types 0. */
function firstOf({ dataType, data }: Tensor): number {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength)
  if (dataType === 'UINT8') return view.getUint8(0)
  if (dataType === 'INT8') return view.getInt8(0)
  if (dataType === 'UINT16') return view.getUint16(0, true)
  return dataType === 'INT16' ? view.getInt16(0, true) : 0
}
