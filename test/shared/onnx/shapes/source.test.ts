import { describe } from 'vitest'
import { floatsValue, int32Tensor, intsValue, intValue, tensorValue } from '../../../../shared/onnx/index.ts'
import { ints, one, runtimeShapeTests, scalar } from '../support/operator-case.ts'

describe('the inferred output', () => {
  runtimeShapeTests([
    { op: 'Cast', inputs: [[3]], attributes: { to: intValue(7) } },
    { op: 'Shape', inputs: [[2, 3, 4]], attributes: { start: intValue(1) } },
    { op: 'Size', inputs: [[2, 3, 4]] },
    {
      op: 'ConstantOfShape',
      inputs: [ints(2, 3)],
      attributes: { value: tensorValue(int32Tensor('', [1], Int32Array.of(7))) },
    },
    { op: 'Range', inputs: [scalar(2), scalar(11), scalar(3)] },
    { op: 'Range', inputs: [one(0), one(1), one(0.3)] },
    { op: 'Shape', opset: 21, inputs: [[2, 3, 4]], attributes: { start: intValue(1), end: intValue(-1) } },
    { op: 'Constant', inputs: [], attributes: { value_floats: floatsValue([1, 2]) } },
    { op: 'Constant', inputs: [], attributes: { value_ints: intsValue([1, 2, 3]) } },
  ])
})
