import { describe } from 'vitest'
import { floatTensor, int8Tensor, intValue, uint8Tensor } from '../../../../shared/onnx/index.ts'
import { one, runtimeShapeTests } from '../support/operator-case.ts'

describe('the inferred output', () => {
  runtimeShapeTests([
    { op: 'QuantizeLinear', inputs: [[2, 3], one(0.1)] },
    { op: 'QuantizeLinear', inputs: [[2, 3], one(0.1), int8Tensor('', [], Int8Array.of(3))] },
    {
      op: 'DequantizeLinear',
      inputs: [uint8Tensor('', [2, 2], Uint8Array.of(1, 2, 3, 4)), one(0.1), uint8Tensor('', [], Uint8Array.of(3))],
    },
    { op: 'DynamicQuantizeLinear', inputs: [[2, 3]], outputs: 3 },
    { op: 'QuantizeLinear', opset: 21, inputs: [[2, 3], one(0.1)], attributes: { output_dtype: intValue(3) } },
    {
      op: 'DequantizeLinear',
      opset: 21,
      inputs: [int8Tensor('', [32, 2], new Int8Array(64)), floatTensor('', [2, 2], Float32Array.of(1, 2, 3, 4))],
      attributes: { axis: intValue(0), block_size: intValue(16) },
    },
  ])
})
