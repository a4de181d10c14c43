import { describe } from 'vitest'
import { floatTensor, intValue } from '../../../../shared/onnx/index.ts'
import { ints, runtimeShapeTests, scalar } from '../support/operator-case.ts'

describe('the inferred output', () => {
  runtimeShapeTests([
    {
      op: 'GridSample',
      opset: 20,
      inputs: [
        [1, 2, 4, 4],
        [1, 3, 5, 2],
      ],
    },
    {
      op: 'RoiAlign',
      inputs: [[1, 2, 8, 8], floatTensor('', [1, 4], Float32Array.of(0, 0, 4, 4)), ints(0)],
      attributes: { output_height: intValue(2), output_width: intValue(3) },
    },
    { op: 'DFT', opset: 20, inputs: [[1, 8, 1], null, scalar(1)] },
  ])
})
