import { describe } from 'vitest'
import { int8Tensor, intValue, stringValue, uint8Tensor } from '../../../../shared/onnx/index.ts'
import { runtimeShapeTests } from '../support/operator-case.ts'

describe('the inferred output', () => {
  runtimeShapeTests([
    {
      op: 'MatMul',
      inputs: [
        [3, 2, 5],
        [5, 4],
      ],
    },
    { op: 'MatMul', inputs: [[5], [2, 5, 4]] },
    { op: 'MatMul', inputs: [[2, 3, 5], [5]] },
    {
      op: 'Gemm',
      inputs: [
        [5, 2],
        [4, 5],
      ],
      attributes: { transA: intValue(1), transB: intValue(1) },
    },
    {
      op: 'MatMulInteger',
      inputs: [uint8Tensor('', [1, 2], Uint8Array.of(1, 2)), int8Tensor('', [2, 2], Int8Array.of(1, 2, 3, 4))],
    },
    {
      op: 'Einsum',
      inputs: [
        [2, 3, 4],
        [2, 4, 5],
      ],
      attributes: { equation: stringValue('bij, bjk -> bik') },
    },
    { op: 'Einsum', inputs: [[2, 3, 4]], attributes: { equation: stringValue('abc->cab') } },
  ])
})
