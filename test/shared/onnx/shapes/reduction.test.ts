import { describe } from 'vitest'
import { intsValue, intValue } from '../../../../shared/onnx/index.ts'
import { ints, runtimeShapeTests } from '../support/operator-case.ts'

describe('the inferred output', () => {
  runtimeShapeTests([
    { op: 'ReduceSum', inputs: [[2, 3, 4], ints(-1, 0)] },
    { op: 'ReduceSum', inputs: [[2, 3, 4]], attributes: { noop_with_empty_axes: intValue(1) } },
    { op: 'ReduceMean', inputs: [[2, 3, 4]], attributes: { axes: intsValue([1]), keepdims: intValue(0) } },
    { op: 'ReduceMean', opset: 18, inputs: [[2, 3, 4], ints(1)], attributes: { keepdims: intValue(0) } },
    { op: 'ReduceMax', inputs: [[2, 3, 4]] },
    { op: 'ReduceMin', inputs: [[2, 3, 4]], attributes: { keepdims: intValue(0) } },
    { op: 'ArgMax', inputs: [[2, 3, 4]], attributes: { axis: intValue(-1), keepdims: intValue(0) } },
    { op: 'TopK', inputs: [[2, 5], ints(3)], outputs: 2 },
    { op: 'ReduceMax', opset: 20, inputs: [[2, 3, 4], ints(0, -1)] },
    { op: 'ReduceMean', opset: 18, inputs: [[2, 3]], attributes: { noop_with_empty_axes: intValue(1) } },
    { op: 'ReduceMean', opset: 18, inputs: [[2, 3]], attributes: { keepdims: intValue(0) } },
  ])
})
