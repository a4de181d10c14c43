import { describe } from 'vitest'
import { intsValue, intValue, stringValue } from '../../../../shared/onnx/index.ts'
import { floats, ints, runtimeShapeTests } from '../support/operator-case.ts'

describe('the inferred output', () => {
  runtimeShapeTests([
    { op: 'Resize', inputs: [[1, 1, 3, 5], null, floats(1, 1, 2, 1.5)] },
    { op: 'Resize', inputs: [[1, 1, 3, 5], null, null, ints(1, 1, 7, 4)] },
    { op: 'Resize', opset: 18, inputs: [[1, 1, 3, 5], null, floats(2, 3)], attributes: { axes: intsValue([2, 3]) } },
    { op: 'Resize', opset: 10, inputs: [[1, 1, 3, 5], floats(1, 1, 2, 2)] },
    { op: 'Upsample', opset: 9, inputs: [[1, 1, 3, 5], floats(1, 1, 2, 3)] },
    {
      op: 'Resize',
      opset: 19,
      inputs: [[1, 1, 4, 4], null, null, ints(8, 6)],
      attributes: { axes: intsValue([2, 3]), antialias: intValue(1), mode: stringValue('linear') },
    },
  ])
})
