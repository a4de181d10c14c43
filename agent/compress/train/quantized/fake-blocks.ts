import { editGraph, type Graph, intsValue, intValue, type Tensor, uint8Tensor } from '@edgefit/shared/onnx'
import type { BlockFormat } from '../../weight-only/quantize-blocks.ts'
import type { BlockwiseLayer } from '../../weight-only/weight-only.ts'
import type { Emitter } from '../autodiff/emitter.ts'
import { algebra } from '../autodiff/rules/algebra.ts'
import { emitInto } from './emit-into.ts'

interface BlockScales {
  /** Names of positive scales and of their uint8 zero points, one a block. */
  readonly scale: string
  readonly zeroPoint: string
  /** Name of the zero points as float32. */
  readonly offset: string
}

/** Emits the scales of weights, of which `blocks` is the name: a row each, padded with zeros. */
export type BlockScaleWriter = (emit: Emitter, blocks: string, layer: BlockwiseLayer) => BlockScales

/** The same for layers that share weights, and read them the same way. */
export function blocksKey({ weights, outputAxis }: Pick<BlockwiseLayer, 'weights' | 'outputAxis'>): string {
  return `${outputAxis} ${weights.name}`
}

/** Beyond the last integer, and not so far that a weight would round to another. */
const MARGIN = 0.49

/**
 * Layers as training needs them: their weights stay float32 initializers and go through QuantizeLinear and
 * DequantizeLinear on their way, block by block as rows of a matrix. The integers are bytes, held to those of few bits.
 */
export function fakeBlocks(
  graph: Graph,
  opset: number,
  layers: readonly BlockwiseLayer[],
  format: BlockFormat,
  writeScales: BlockScaleWriter,
): Graph {
  const editor = editGraph(graph)
  const made = new Map<string, string>()
  for (const layer of layers) {
    const key = blocksKey(layer)
    const name = made.get(key) ?? emitInto(editor, opset, (emit) => emitRounded(emit, layer, format, writeScales))
    made.set(key, name)
    editor.replaceUses(layer.weights.name, name, ({ outputs: [output] }) => output === layer.node.outputs[0])
  }
  return editor.build()
}

function emitRounded(
  emit: Emitter,
  layer: BlockwiseLayer,
  { bits, blockSize }: BlockFormat,
  writeScales: BlockScaleWriter,
): string {
  const { weights, outputAxis } = layer
  const { inputs, outputs } = extentOf(layer)
  const blocks = Math.ceil(inputs / blockSize)
  const padding = blocks * blockSize - inputs
  const turned = (value: string): string =>
    outputAxis === 0 ? value : emit.add('Transpose', [value], { perm: intsValue([1, 0]) })
  const whole = turned(weights.name)
  const padded = padding === 0 ? whole : emit.add('Pad', [whole, emit.ints([0, 0, 0, padding])])
  const rows = emit.reshape(padded, [outputs * blocks, blockSize])

  const { scale, zeroPoint, offset } = writeScales(emit, rows, layer)
  const { mul, sub } = algebra(emit)
  const most = mul(sub(2 ** bits - 1 + MARGIN, offset), scale)
  const held = emit.add('Min', [rows, emit.reshape(most, [outputs * blocks, 1])])
  const quantized = emit.add('QuantizeLinear', [held, scale, zeroPoint], { axis: intValue(0) })
  const rounded = emit.add('DequantizeLinear', [quantized, scale, zeroPoint], { axis: intValue(0) })

  const flat = emit.reshape(rounded, [outputs, blocks * blockSize])
  return turned(padding === 0 ? flat : emit.add('Slice', [flat, emit.ints([0]), emit.ints([inputs]), emit.ints([1])]))
}

export function extentOf({ weights: { dims }, outputAxis }: Pick<BlockwiseLayer, 'weights' | 'outputAxis'>): {
  readonly inputs: number
  readonly outputs: number
} {
  const [rows = 0, columns = 0] = dims
  return outputAxis === 0 ? { inputs: columns, outputs: rows } : { inputs: rows, outputs: columns }
}

/** Emits a QuantizeLinear that makes uint8 zero points of whole numbers, or rounds others. */
export function emitZeroPoint(emit: Emitter, offset: string): string {
  const zero: Tensor = uint8Tensor('zero', [], Uint8Array.of(0))
  return emit.add('QuantizeLinear', [offset, emit.scalar(1), emit.constant(zero)])
}
