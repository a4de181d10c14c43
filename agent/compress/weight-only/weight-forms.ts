import {
  type DataType,
  floatTensor,
  type GraphEditor,
  intValue,
  type Node,
  node,
  type Tensor,
  uint8Tensor,
} from '@edgefit/shared/onnx'
import { type BlockFormat, type BlockwiseWeights, packNibbles } from './quantize-blocks.ts'

export interface StoredWeights {
  /** Names of the initializers, in the order in which the operator reads them. */
  readonly names: readonly string[]
  readonly inputs: number
  readonly outputs: number
}

/** How weights of few bits are written into a model. */
export interface WeightForm {
  store(editor: GraphEditor, hint: string, weights: BlockwiseWeights): StoredWeights
  /** Puts an operator that reads `stored` in the place of a MatMul or Gemm. */
  replace(editor: GraphEditor, layer: Node, stored: StoredWeights, bias: Tensor | undefined): void
}

/**
 * One `com.microsoft` MatMulNBits: the runtime's own operator, in any opset.
 *
 * | tensor      | shape                                | layout                                          |
 * | ----------- | ------------------------------------ | ----------------------------------------------- |
 * | B           | [outputs, blocks, blockSize·bits/8]  | the last block padded; the first value in the low bits |
 * | scales      | [outputs · blocks]                   |                                                 |
 * | zero_points | [outputs · ⌈blocks·bits/8⌉]          | each output on a byte of its own; absent if symmetric |
 */
export function matMulNBits({ bits, blockSize, symmetric }: BlockFormat): WeightForm {
  const pack = bits === 4 ? packNibbles : (values: Uint8Array) => values
  return {
    store(editor, hint, { inputs, outputs, blocks, values, scales, zeroPoints }) {
      const rowBytes = (blocks * blockSize * bits) / 8
      const packed = new Uint8Array(outputs * rowBytes)
      const zeroRowBytes = Math.ceil((blocks * bits) / 8)
      const packedZeros = new Uint8Array(outputs * zeroRowBytes)
      for (let output = 0; output < outputs; output++) {
        packed.set(pack(values.subarray(output * inputs, (output + 1) * inputs)), output * rowBytes)
        packedZeros.set(pack(zeroPoints.subarray(output * blocks, (output + 1) * blocks)), output * zeroRowBytes)
      }
      const names = [
        add(editor, `${hint}/quantized`, (name) => uint8Tensor(name, [outputs, blocks, rowBytes / blocks], packed)),
        add(editor, `${hint}/scale`, (name) => floatTensor(name, [scales.length], scales)),
      ]
      if (!symmetric) {
        names.push(add(editor, `${hint}/zero_point`, (name) => uint8Tensor(name, [packedZeros.length], packedZeros)))
      }
      return { names, inputs, outputs }
    },
    replace(editor, layer, { names: [values = '', scales = '', zeroPoints = ''], inputs, outputs }, bias) {
      const [activation = ''] = layer.inputs
      const operands = [activation, values, scales, zeroPoints, '', bias?.name ?? '']
      while (operands.at(-1) === '') operands.pop()
      editor.replace(
        layer,
        node({
          opType: 'MatMulNBits',
          domain: 'com.microsoft',
          name: layer.name,
          inputs: operands,
          outputs: layer.outputs,
          attributes: {
            K: intValue(inputs),
            N: intValue(outputs),
            bits: intValue(bits),
            block_size: intValue(blockSize),
            // Activations in 8 bits: without it the kernels for 8-bit weights are four times slower.
            accuracy_level: intValue(4),
          },
        }),
      )
    },
  }
}

/**
 * The standard's own form, opset 21: a blockwise DequantizeLinear in front of MatMul or Gemm, which the runtime turns
 * into a MatMulNBits.
 */
export function dequantizeBlocks({ bits, blockSize, symmetric }: BlockFormat): WeightForm {
  const types: readonly DataType[] = symmetric ? ['INT4', 'INT8'] : ['UINT4', 'UINT8']
  const [dataType = 'INT8'] = bits === 4 ? types : types.slice(1)
  const offset = symmetric ? 2 ** (bits - 1) : 0
  const integers = (name: string, rows: number, columns: number, transposed: Uint8Array): Tensor => {
    const values = new Uint8Array(rows * columns)
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        values[row * columns + column] = (transposed[column * rows + row] ?? 0) - offset
      }
    }
    return { name, dataType, dims: [rows, columns], data: bits === 4 ? packNibbles(values) : values }
  }
  return {
    store(editor, hint, { inputs, outputs, blocks, values, scales, zeroPoints }) {
      const rowMajor = new Float32Array(scales.length)
      for (let block = 0; block < blocks; block++) {
        for (let output = 0; output < outputs; output++) {
          rowMajor[block * outputs + output] = scales[output * blocks + block] ?? 1
        }
      }
      const names = [
        add(editor, `${hint}/quantized`, (name) => integers(name, inputs, outputs, values)),
        add(editor, `${hint}/scale`, (name) => floatTensor(name, [blocks, outputs], rowMajor)),
      ]
      if (!symmetric) {
        names.push(add(editor, `${hint}/zero_point`, (name) => integers(name, blocks, outputs, zeroPoints)))
      }
      return { names, inputs, outputs }
    },
    replace(editor, layer, { names }, bias) {
      const [activation = ''] = layer.inputs
      const dequantized = editor.freshName(`${layer.outputs[0]}/weights`)
      const attributes = { axis: intValue(0), block_size: intValue(blockSize) }
      const [output = ''] = layer.outputs
      const product = bias === undefined ? output : editor.freshName(`${output}/product`)
      editor.replace(
        layer,
        node({ opType: 'DequantizeLinear', inputs: names, outputs: [dequantized], attributes }),
        node({ opType: 'MatMul', name: layer.name, inputs: [activation, dequantized], outputs: [product] }),
        ...(bias === undefined ? [] : [node({ opType: 'Sum', inputs: [product, bias.name], outputs: [output] })]),
      )
      keepProductAlone(editor, output)
    },
  }
}

/**
 * The runtime would make MatMul, Add and Relu one FusedGemm, in float, before it looks at the weights. A Sum of two means
 * the same as an Add and is left alone.
 */
function keepProductAlone(editor: GraphEditor, product: string): void {
  for (const consumer of editor.consumers(product)) {
    if (consumer.opType === 'Add' && consumer.domain === '') editor.replace(consumer, { ...consumer, opType: 'Sum' })
  }
}

function add(editor: GraphEditor, hint: string, tensor: (name: string) => Tensor): string {
  const name = editor.freshName(hint)
  editor.setInitializer(tensor(name))
  return name
}
